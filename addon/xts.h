// Decryption of blobs.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nydus {

constexpr size_t kXtsKeyBytes = 32, kXtsIvBytes = 16;

// AES-128-XTS with one IV for all. Data shorter than a cipher block was padded to 16 bytes and marked by two more (0x78
// 0x90) before it was encrypted; what was added is not counted. utils/src/crypt.rs of nydus. `out` has room for as many
// bytes as there are. Bytes of the result; -EBADMSG for less than a block, -ENOMEM.
int64_t xtsDecrypt(const uint8_t* key, const uint8_t* iv, const uint8_t* bytes, size_t length, uint8_t* out);

}  // namespace nydus
