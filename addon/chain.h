// Reading one descriptor chain: each descriptor once, every address checked.
#pragma once
#include <sys/uio.h>

#include "ring.h"

namespace nydus {

constexpr uint16_t kDescNext = 1, kDescWrite = 2, kDescIndirect = 4;

// Plain data: it is filled inside guarded().
struct Walk {
  const MemoryMap* map;
  uint32_t* hint;
  uint8_t* request;
  iovec* iov;
  uint64_t readable = 0, writable = 0;
  uint32_t copied = 0, parts = 0;

  // Adds a buffer. False: outside guest memory, readable behind writable, too many pieces or too long in all.
  bool add(const Desc& desc);
  bool addPart(uint8_t* host, uint64_t length);
};

// Two loads, so that what was checked is what is used.
inline Desc loadDesc(const Desc* at) {
  const auto* words = reinterpret_cast<const uint64_t*>(at);
  const uint64_t addr = __atomic_load_n(words, __ATOMIC_RELAXED);
  const uint64_t rest = __atomic_load_n(words + 1, __ATOMIC_RELAXED);
  return {addr, static_cast<uint32_t>(rest), static_cast<uint16_t>(rest >> 32), static_cast<uint16_t>(rest >> 48)};
}

}  // namespace nydus
