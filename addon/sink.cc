// A file's bytes on their way out: hashed with SHA-256 and written on a pool thread, large pieces at a time.
#include <openssl/evp.h>
#include <unistd.h>

#include <memory>

#include "common.h"

namespace nydus {
namespace {

constexpr napi_type_tag kTag = {0x6e796475732d7369, 0x6e6b2d7368613235};
constexpr size_t kDigestBytes = 32;

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

struct Sink {
  Context hash{EVP_MD_CTX_new()};
  bool busy = false;  // a pool thread has the hash
};

Sink* sinkOf(napi_env env, napi_value value) {
  napi_valuetype type;
  bool ours = false;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  if (napi_check_object_type_tag(env, value, &kTag, &ours) != napi_ok || !ours) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<Sink*>(data) : nullptr;
}

int64_t writeAll(int fd, const uint8_t* bytes, size_t length) {
  for (size_t done = 0; done < length;) {
    const ssize_t n = write(fd, bytes + done, length - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) return -EIO;
    done += static_cast<size_t>(n);
  }
  return 0;
}

napi_value SinkCreate(napi_env env, napi_callback_info) {
  auto sink = std::make_unique<Sink>();
  if (!sink->hash || EVP_DigestInit_ex(sink->hash.get(), EVP_sha256(), nullptr) != 1) return number(env, -ENOMEM);
  const auto free = [](napi_env, void* data, void*) { delete static_cast<Sink*>(data); };
  napi_value external;
  if (napi_create_external(env, sink.get(), free, nullptr, &external) != napi_ok) return number(env, -ENOMEM);
  sink.release();
  if (napi_type_tag_object(env, external, &kTag) != napi_ok) return number(env, -EINVAL);
  return external;
}

napi_value SinkHash(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Sink* sink = sinkOf(env, args[0]);
  if (sink == nullptr) return number(env, -EINVAL);
  if (sink->busy) return number(env, -EBUSY);
  Bytes bytes(env, args[1]);
  if (bytes.length == 0) return number(env, 0);
  return number(env, EVP_DigestUpdate(sink->hash.get(), bytes.data, bytes.length) == 1 ? 0 : -EIO);
}

napi_value SinkDigest(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Sink* sink = sinkOf(env, args[0]);
  Bytes out(env, args[1]);
  if (sink == nullptr || out.length < kDigestBytes) return number(env, -EINVAL);
  if (sink->busy) return number(env, -EBUSY);
  Context copy(EVP_MD_CTX_new());
  const bool ok = copy && EVP_MD_CTX_copy_ex(copy.get(), sink->hash.get()) == 1 &&
                  EVP_DigestFinal_ex(copy.get(), out.data, nullptr) == 1;
  return number(env, ok ? 0 : -EIO);
}

struct Append {
  Sink* sink = nullptr;
  int fd = -1;
  const uint8_t* bytes = nullptr;
  size_t length = 0;
  int64_t result = 0;
  napi_ref keep[3] = {};  // sink, bytes, callback: they must outlive the work
  napi_async_work work = nullptr;

  void drop(napi_env env) {
    for (napi_ref& reference : keep) {
      if (reference != nullptr) napi_delete_reference(env, reference);
      reference = nullptr;
    }
  }
};

void onAppended(napi_env env, napi_status status, void* data) {
  std::unique_ptr<Append> append(static_cast<Append*>(data));
  napi_delete_async_work(env, append->work);
  append->sink->busy = false;
  callJs(env, append->keep[2], true, status == napi_ok ? append->result : -ECANCELED);
  append->drop(env);
}

napi_value SinkAppend(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Sink* sink = sinkOf(env, args[0]);
  Bytes bytes(env, args[2]);
  napi_valuetype type;
  const bool callable = napi_typeof(env, args[3], &type) == napi_ok && type == napi_function;
  if (sink == nullptr || bytes.length == 0 || !callable) return number(env, -EINVAL);
  if (sink->busy) return number(env, -EBUSY);
  auto append = std::make_unique<Append>();
  append->sink = sink;
  append->fd = args.i32(1);
  append->bytes = bytes.data;
  append->length = bytes.length;
  const napi_value kept[] = {args[0], args[2], args[3]};
  for (int i = 0; i < 3; i++) napi_create_reference(env, kept[i], 1, &append->keep[i]);
  const auto execute = [](napi_env, void* data) {
    auto& a = *static_cast<Append*>(data);
    a.result = EVP_DigestUpdate(a.sink->hash.get(), a.bytes, a.length) == 1 ? writeAll(a.fd, a.bytes, a.length) : -EIO;
  };
  napi_value name;
  napi_create_string_utf8(env, "sink", NAPI_AUTO_LENGTH, &name);
  if (napi_create_async_work(env, nullptr, name, execute, onAppended, append.get(), &append->work) != napi_ok) {
    append->drop(env);
    return number(env, -ENOMEM);
  }
  if (napi_queue_async_work(env, append->work) != napi_ok) {
    napi_delete_async_work(env, append->work);
    append->drop(env);
    return number(env, -EAGAIN);
  }
  sink->busy = true;
  append.release();
  return number(env, 0);
}

}  // namespace

void defineSinks(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "sinkCreate", SinkCreate);
  define(env, exports, instance, "sinkHash", SinkHash);
  define(env, exports, instance, "sinkDigest", SinkDigest);
  define(env, exports, instance, "sinkAppend", SinkAppend);
}

}  // namespace nydus
