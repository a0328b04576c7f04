// BLAKE3 (github.com/BLAKE3-team/BLAKE3-specs, blake3.pdf) of bytes that are all there; no key, no key derivation.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nydus {

constexpr size_t kBlake3Bytes = 32;

// Puts the digest of `length` bytes into the kBlake3Bytes of `out`. Allocates nothing.
void blake3(const uint8_t* bytes, size_t length, uint8_t* out);

}  // namespace nydus
