// SHA-256 on a pool thread, for files that are hashed while another one writes them.
#include <openssl/evp.h>

#include "pool_work.h"

namespace nydus {
namespace {

constexpr napi_type_tag kTag = {0x6e796475732d7369, 0x6e6b2d7368613235};
constexpr size_t kDigestBytes = 32;

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

struct Hash {
  Context context{EVP_MD_CTX_new()};
  bool busy = false;  // a pool thread has the hash
};

Hash* hashOf(napi_env env, napi_value value) {
  napi_valuetype type;
  bool ours = false;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  if (napi_check_object_type_tag(env, value, &kTag, &ours) != napi_ok || !ours) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<Hash*>(data) : nullptr;
}

napi_value HashCreate(napi_env env, napi_callback_info) {
  auto hash = std::make_unique<Hash>();
  if (!hash->context || EVP_DigestInit_ex(hash->context.get(), EVP_sha256(), nullptr) != 1) return number(env, -ENOMEM);
  const auto free = [](napi_env, void* data, void*) { delete static_cast<Hash*>(data); };
  napi_value external;
  if (napi_create_external(env, hash.get(), free, nullptr, &external) != napi_ok) return number(env, -ENOMEM);
  hash.release();
  if (napi_type_tag_object(env, external, &kTag) != napi_ok) return number(env, -EINVAL);
  return external;
}

napi_value HashUpdate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Hash* hash = hashOf(env, args[0]);
  if (hash == nullptr) return number(env, -EINVAL);
  if (hash->busy) return number(env, -EBUSY);
  Bytes bytes(env, args[1]);
  if (bytes.length == 0) return number(env, 0);
  return number(env, EVP_DigestUpdate(hash->context.get(), bytes.data, bytes.length) == 1 ? 0 : -EIO);
}

napi_value HashDigest(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Hash* hash = hashOf(env, args[0]);
  Bytes out(env, args[1]);
  if (hash == nullptr || out.length < kDigestBytes) return number(env, -EINVAL);
  if (hash->busy) return number(env, -EBUSY);
  Context copy(EVP_MD_CTX_new());
  const bool ok = copy && EVP_MD_CTX_copy_ex(copy.get(), hash->context.get()) == 1 &&
                  EVP_DigestFinal_ex(copy.get(), out.data, nullptr) == 1;
  return number(env, ok ? 0 : -EIO);
}

struct Update : PoolTask {
  Hash* hash = nullptr;
  const uint8_t* bytes = nullptr;
  size_t length = 0;

  int64_t execute() { return EVP_DigestUpdate(hash->context.get(), bytes, length) == 1 ? 0 : -EIO; }
  bool finish(int64_t) {
    hash->busy = false;
    return true;
  }
};

napi_value HashUpdateAsync(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Hash* hash = hashOf(env, args[0]);
  Bytes bytes(env, args[1]);
  if (hash == nullptr || bytes.length == 0) return number(env, -EINVAL);
  if (hash->busy) return number(env, -EBUSY);
  auto update = std::make_unique<Update>();
  update->hash = hash;
  update->bytes = bytes.data;
  update->length = bytes.length;
  const int started =
      PoolWork<Update>::start(env, args.instance(), "sha256", std::move(update), args[2], {args[0], args[1]});
  if (started == 0) hash->busy = true;
  return number(env, started);
}

}  // namespace

void defineHashes(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "hashCreate", HashCreate);
  define(env, exports, instance, "hashUpdate", HashUpdate);
  define(env, exports, instance, "hashDigest", HashDigest);
  define(env, exports, instance, "hashUpdateAsync", HashUpdateAsync);
}

}  // namespace nydus
