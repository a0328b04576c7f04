#include "blake3.h"

#include <algorithm>
#include <cstring>

#include "blake3_core.h"

// Bytes are read as little-endian words, which they are on x86-64.
namespace nydus {
namespace blake3core {
namespace {

namespace four {
#define NYDUS_LANES 4
#include "blake3_lanes.h"
#undef NYDUS_LANES
}  // namespace four

#pragma GCC push_options
#pragma GCC target("avx2")
namespace eight {
#define NYDUS_LANES 8
#include "blake3_lanes.h"
#undef NYDUS_LANES
}  // namespace eight
#pragma GCC pop_options

using Cv = uint32_t[kCvWords];

// Chunks that are hashed into one chaining value before the next ones are looked at: what a stack has room for.
constexpr size_t kGroupChunks = 128;
constexpr size_t kGroupBytes = kGroupChunks * kChunkBytes;

inline uint32_t rotate(uint32_t x, int bits) { return (x >> bits) | (x << (32 - bits)); }

inline void mix(uint32_t* v, int a, int b, int c, int d, uint32_t x, uint32_t y) {
  v[a] += v[b] + x;
  v[d] = rotate(v[d] ^ v[a], 16);
  v[c] += v[d];
  v[b] = rotate(v[b] ^ v[c], 12);
  v[a] += v[b] + y;
  v[d] = rotate(v[d] ^ v[a], 8);
  v[c] += v[d];
  v[b] = rotate(v[b] ^ v[c], 7);
}

// One block into the chaining value `cv`.
void compress(Cv cv, const uint8_t* block, uint32_t length, uint64_t counter, uint32_t flags) {
  uint32_t m[16], v[16];
  memcpy(m, block, kBlockBytes);
  memcpy(v, cv, sizeof(Cv));
  memcpy(v + 8, kIv, 4 * sizeof(uint32_t));
  v[12] = static_cast<uint32_t>(counter);
  v[13] = static_cast<uint32_t>(counter >> 32);
  v[14] = length;
  v[15] = flags;
#pragma GCC unroll 7
  for (int round = 0; round < kRounds; round++) {
    const uint8_t* s = kSchedule[round];
    mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
    mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
    mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
    mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
    mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
    mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
    mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
    mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
  }
  for (size_t i = 0; i < kCvWords; i++) cv[i] = v[i] ^ v[i + 8];
}

// A chunk of at most kChunkBytes, also of none.
void hashChunk(const uint8_t* bytes, size_t length, uint64_t counter, uint32_t rootFlag, Cv out) {
  memcpy(out, kIv, sizeof(Cv));
  uint32_t flags = kChunkStart;
  for (; length > kBlockBytes; length -= kBlockBytes, bytes += kBlockBytes) {
    compress(out, bytes, kBlockBytes, counter, flags);
    flags = 0;
  }
  uint8_t last[kBlockBytes] = {};
  if (length > 0) memcpy(last, bytes, length);
  compress(out, last, static_cast<uint32_t>(length), counter, flags | kChunkEnd | rootFlag);
}

void hashParent(const Cv* children, uint32_t rootFlag, Cv out) {
  uint8_t block[kBlockBytes];
  memcpy(block, children, kBlockBytes);
  memcpy(out, kIv, sizeof(Cv));
  compress(out, block, kBlockBytes, 0, kParent | rootFlag);
}

// Chaining values of `count` inputs that lie one behind the other, each of batch.blocks whole blocks. `out` may be
// where the inputs are if each is at least as long as its value: all of a pass are read before the first is written.
void hashMany(const uint8_t* bytes, size_t count, Batch batch, Cv* out) {
  static const bool hasEight = __builtin_cpu_supports("avx2");
  const size_t stride = batch.blocks * kBlockBytes;
  while (count > 0) {
    // Four lanes cost half of eight where no more are needed.
    const bool isWide = hasEight && count > four::kLanes;
    const size_t lanes = isWide ? eight::kLanes : four::kLanes;
    const size_t used = std::min(count, lanes);
    const uint8_t* inputs[eight::kLanes];
    for (size_t i = 0; i < lanes; i++) inputs[i] = bytes + (i < used ? i : 0) * stride;
    batch.inputs = inputs;
    Cv values[eight::kLanes];
    if (isWide) {
      eight::hashLanes(batch, values);
    } else {
      four::hashLanes(batch, values);
    }
    memcpy(out, values, used * sizeof(Cv));
    batch.counter += used * batch.step;
    bytes += used * stride;
    out += used;
    count -= used;
  }
}

// The chunks of at most kGroupBytes and at least one; how many there are.
size_t hashChunks(const uint8_t* bytes, size_t length, uint64_t counter, Cv* out) {
  const size_t whole = length / kChunkBytes;
  hashMany(bytes, whole, Batch{nullptr, kChunkBytes / kBlockBytes, counter, 1, 0, kChunkStart, kChunkEnd}, out);
  const size_t rest = length % kChunkBytes;
  if (rest == 0) return whole;
  hashChunk(bytes + whole * kChunkBytes, rest, counter + whole, 0, out[whole]);
  return whole + 1;
}

// Joins neighbours until at most `target` values are left. A value without a neighbour goes up as it is, which gives
// the tree of the paper, whose left branches are whole.
size_t joinUntil(size_t target, Cv* cvs, size_t count) {
  while (count > target) {
    const size_t pairs = count / 2;
    hashMany(reinterpret_cast<const uint8_t*>(cvs), pairs, Batch{nullptr, 1, 0, 0, kParent, 0, 0}, cvs);
    if (count % 2 != 0) memmove(cvs[pairs], cvs[count - 1], sizeof(Cv));
    count = pairs + count % 2;
  }
  return count;
}

// Values of whole subtrees on the way to the root; their sizes halve from the bottom to the top.
class Stack {
 public:
  // The value of the group with this number, which more groups follow.
  void push(const Cv value, uint64_t number) {
    memcpy(cvs_[depth_++], value, sizeof(Cv));
    for (uint64_t merged = number + 1; merged % 2 == 0; merged /= 2) {
      hashParent(cvs_ + depth_ - 2, 0, joined_);
      memcpy(cvs_[--depth_ - 1], joined_, sizeof(Cv));
    }
  }
  // Joins the value of the last group with all that came before it.
  void root(const Cv last, Cv out) {
    memcpy(cvs_[depth_++], last, sizeof(Cv));
    for (; depth_ > 1; depth_--) {
      hashParent(cvs_ + depth_ - 2, depth_ == 2 ? kRoot : 0, joined_);
      memcpy(cvs_[depth_ - 2], joined_, sizeof(Cv));
    }
    memcpy(out, cvs_[0], sizeof(Cv));
  }

 private:
  Cv cvs_[64], joined_;
  size_t depth_ = 0;
};

void hashTree(const uint8_t* bytes, size_t length, Cv out) {
  if (length <= kChunkBytes) return hashChunk(bytes, length, 0, kRoot, out);
  Cv cvs[kGroupChunks];
  if (length <= kGroupBytes) {
    joinUntil(2, cvs, hashChunks(bytes, length, 0, cvs));
    return hashParent(cvs, kRoot, out);
  }
  Stack stack;
  uint64_t group = 0;
  for (; length > kGroupBytes; length -= kGroupBytes, bytes += kGroupBytes, group++) {
    joinUntil(1, cvs, hashChunks(bytes, kGroupBytes, group * kGroupChunks, cvs));
    stack.push(cvs[0], group);
  }
  joinUntil(1, cvs, hashChunks(bytes, length, group * kGroupChunks, cvs));
  stack.root(cvs[0], out);
}

}  // namespace
}  // namespace blake3core

void blake3(const uint8_t* bytes, size_t length, uint8_t* out) {
  uint32_t value[blake3core::kCvWords];
  blake3core::hashTree(bytes, length, value);
  memcpy(out, value, kBlake3Bytes);
}

}  // namespace nydus
