#include "xts.h"

#include <openssl/evp.h>

#include <cerrno>
#include <climits>
#include <memory>

namespace nydus {
namespace {

constexpr size_t kBlockBytes = 16;

// The length without what was added to data shorter than a block.
size_t unpadded(const uint8_t* plain, size_t length) {
  if (length != kBlockBytes + 2 || plain[16] != 0x78 || plain[17] != 0x90) return length;
  // The fill value is 16 minus the length, and fills the rest of the block.
  const uint8_t fill = plain[15];
  if (fill < 1 || fill > kBlockBytes) return length;
  for (size_t i = kBlockBytes - fill; i < kBlockBytes; i++) {
    if (plain[i] != fill) return length;
  }
  return kBlockBytes - fill;
}

}  // namespace

int64_t xtsDecrypt(const uint8_t* key, const uint8_t* iv, const uint8_t* bytes, size_t length, uint8_t* out) {
  struct Free {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  if (length < kBlockBytes || length > INT_MAX) return -EBADMSG;
  const std::unique_ptr<EVP_CIPHER_CTX, Free> context(EVP_CIPHER_CTX_new());
  int produced = 0, rest = 0;
  // Ciphertext of any length is stolen from the last whole block: only one update may see it.
  if (!context || EVP_DecryptInit_ex(context.get(), EVP_aes_128_xts(), nullptr, key, iv) != 1) return -ENOMEM;
  if (EVP_DecryptUpdate(context.get(), out, &produced, bytes, static_cast<int>(length)) != 1 ||
      EVP_DecryptFinal_ex(context.get(), out + produced, &rest) != 1) {
    return -EBADMSG;
  }
  return static_cast<int64_t>(unpadded(out, static_cast<size_t>(produced + rest)));
}

}  // namespace nydus
