// The codecs as JavaScript calls them: at once, or on a pool thread.
#include "codec.h"

#include "common.h"

namespace nydus {
namespace {

using Codec = int64_t (*)(const uint8_t*, size_t, uint8_t*, size_t);

// Typed arrays of length 0 may have no address.
uint8_t nothing;
uint8_t* addressOf(const Bytes& bytes) { return bytes.data == nullptr ? &nothing : bytes.data; }

bool isBytes(napi_env env, napi_value value) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, nullptr, nullptr, nullptr, nullptr) == napi_ok &&
         type == napi_uint8_array;
}

napi_value codeNow(napi_env env, napi_callback_info info, Codec codec) {
  Args args(env, info);
  if (!isBytes(env, args[0]) || !isBytes(env, args[1])) return number(env, -EINVAL);
  Bytes src(env, args[0]), dst(env, args[1]);
  return number(env, codec(addressOf(src), src.length, addressOf(dst), dst.length));
}

napi_value Lz4Decode(napi_env env, napi_callback_info info) { return codeNow(env, info, lz4Decode); }
napi_value Lz4Encode(napi_env env, napi_callback_info info) { return codeNow(env, info, lz4Encode); }
napi_value ZstdDecode(napi_env env, napi_callback_info info) { return codeNow(env, info, zstdDecode); }

napi_value ZranDecode(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (!isBytes(env, args[0]) || !isBytes(env, args[1])) return number(env, -EINVAL);
  Bytes src(env, args[0]), dst(env, args[1]), dictionary(env, args[4]);
  return number(env, zranDecode(addressOf(src), src.length, addressOf(dst), dst.length, args.u32(2), args.u32(3),
                                dictionary.data, dictionary.length));
}

napi_value Crc32c(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Bytes bytes(env, args[0]);
  return number(env, crc32c(addressOf(bytes), bytes.length));
}

struct AsyncWork {
  Codec codec;
  const uint8_t* src;
  uint8_t* dst;
  size_t srcLength, dstLength;
  int64_t result = 0;
  napi_ref keep[3] = {};  // source, target, callback: their memory must outlive the work
  napi_async_work work = nullptr;

  void drop(napi_env env) {
    for (napi_ref& reference : keep) {
      if (reference != nullptr) napi_delete_reference(env, reference);
      reference = nullptr;
    }
  }
};

void onCoded(napi_env env, napi_status status, void* data) {
  std::unique_ptr<AsyncWork> task(static_cast<AsyncWork*>(data));
  napi_delete_async_work(env, task->work);
  callJs(env, task->keep[2], true, status == napi_ok ? task->result : -ECANCELED);
  task->drop(env);
}

// `callback` gets the result of the codec from `source` to `target`, on this thread.
napi_value startWork(napi_env env, Codec codec, napi_value source, napi_value target, napi_value callback) {
  napi_valuetype type;
  if (!isBytes(env, source) || !isBytes(env, target)) return number(env, -EINVAL);
  if (napi_typeof(env, callback, &type) != napi_ok || type != napi_function) return number(env, -EINVAL);
  Bytes src(env, source), dst(env, target);
  auto task = std::make_unique<AsyncWork>();
  task->codec = codec;
  task->src = addressOf(src);
  task->srcLength = src.length;
  task->dst = addressOf(dst);
  task->dstLength = dst.length;
  const napi_value kept[] = {source, target, callback};
  for (int i = 0; i < 3; i++) napi_create_reference(env, kept[i], 1, &task->keep[i]);
  const auto execute = [](napi_env, void* data) {
    auto& t = *static_cast<AsyncWork*>(data);
    t.result = t.codec(t.src, t.srcLength, t.dst, t.dstLength);
  };
  napi_value name;
  napi_create_string_utf8(env, "codec", NAPI_AUTO_LENGTH, &name);
  if (napi_create_async_work(env, nullptr, name, execute, onCoded, task.get(), &task->work) != napi_ok) {
    task->drop(env);
    return number(env, -ENOMEM);
  }
  if (napi_queue_async_work(env, task->work) != napi_ok) {
    napi_delete_async_work(env, task->work);
    task->drop(env);
    return number(env, -EAGAIN);
  }
  task.release();
  return number(env, 0);
}

napi_value DecodeAsync(napi_env env, napi_callback_info info) {
  Args args(env, info);
  static constexpr Codec decoders[] = {nullptr, lz4Decode, gzipDecode, zstdDecode};
  const uint32_t kind = args.u32(0);
  if (kind < 1 || kind > 3) return number(env, -EINVAL);
  return startWork(env, decoders[kind], args[1], args[2], args[3]);
}

}  // namespace

void defineCodecs(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "lz4Decode", Lz4Decode);
  define(env, exports, instance, "lz4Encode", Lz4Encode);
  define(env, exports, instance, "zstdDecode", ZstdDecode);
  define(env, exports, instance, "zranDecode", ZranDecode);
  define(env, exports, instance, "decodeAsync", DecodeAsync);
  define(env, exports, instance, "crc32c", Crc32c);
}

}  // namespace nydus
