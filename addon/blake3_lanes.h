// The compression function over NYDUS_LANES inputs side by side, one in each lane of a vector. Included by blake3.cc
// once for each width, within a namespace and under the instruction set of its own; hence no #pragma once.

typedef uint32_t Words __attribute__((vector_size(4 * NYDUS_LANES)));
typedef uint32_t UnalignedWords __attribute__((vector_size(4 * NYDUS_LANES), aligned(1), may_alias));
constexpr int kLanes = NYDUS_LANES;
#define NYDUS_INLINE static inline __attribute__((always_inline))

NYDUS_INLINE void swapPairs(const Words& a, const Words& b, Words& low, Words& high) {
#if NYDUS_LANES == 8
  low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
  high = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
#else
  low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

NYDUS_INLINE void swapQuads(const Words& a, const Words& b, Words& low, Words& high) {
#if NYDUS_LANES == 8
  low = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  high = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
#else
  low = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  high = __builtin_shufflevector(a, b, 2, 3, 6, 7);
#endif
}

// Transposes four rows, within each half of a vector of eight.
NYDUS_INLINE void transposeFour(Words* rows) {
  Words a, b, c, d;
  swapPairs(rows[0], rows[1], a, b);
  swapPairs(rows[2], rows[3], c, d);
  swapQuads(a, c, rows[0], rows[1]);
  swapQuads(b, d, rows[2], rows[3]);
}

// Row i, word j becomes row j, word i.
NYDUS_INLINE void transpose(Words* rows) {
  transposeFour(rows);
#if NYDUS_LANES == 8
  transposeFour(rows + 4);
  for (int i = 0; i < 4; i++) {
    const Words a = rows[i], b = rows[i + 4];
    rows[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    rows[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
#endif
}

template <int kBits>
NYDUS_INLINE Words rotate(Words x) {
#if NYDUS_LANES == 8
  // By whole bytes: one shuffle instead of two shifts and an or.
  typedef uint8_t Octets __attribute__((vector_size(32)));
  const auto octets = reinterpret_cast<Octets>(x);
  if constexpr (kBits == 16) {
    return reinterpret_cast<Words>(__builtin_shufflevector(octets, octets, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15,
                                                           12, 13, 18, 19, 16, 17, 22, 23, 20, 21, 26, 27, 24, 25, 30,
                                                           31, 28, 29));
  }
  if constexpr (kBits == 8) {
    return reinterpret_cast<Words>(__builtin_shufflevector(octets, octets, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14,
                                                           15, 12, 17, 18, 19, 16, 21, 22, 23, 20, 25, 26, 27, 24, 29,
                                                           30, 31, 28));
  }
#endif
  return (x >> kBits) | (x << (32 - kBits));
}

NYDUS_INLINE void mix(Words& a, Words& b, Words& c, Words& d, const Words& x, const Words& y) {
  a += b + x;
  d = rotate<16>(d ^ a);
  c += d;
  b = rotate<12>(b ^ c);
  a += b + y;
  d = rotate<8>(d ^ a);
  c += d;
  b = rotate<7>(b ^ c);
}

NYDUS_INLINE void loadBlock(const Batch& batch, size_t block, Words* message) {
  for (int from = 0; from < 16; from += kLanes) {
    for (int lane = 0; lane < kLanes; lane++) {
      const uint8_t* at = batch.inputs[lane] + block * kBlockBytes + size_t(from) * 4;
      message[from + lane] = *reinterpret_cast<const UnalignedWords*>(at);
    }
    transpose(message + from);
  }
}

// Chaining values of kLanes inputs, to `out`. An input may be there several times.
static void hashLanes(const Batch& batch, uint32_t (*out)[kCvWords]) {
  Words cv[kCvWords], counterLow, counterHigh;
  for (size_t i = 0; i < kCvWords; i++) cv[i] = Words{} + kIv[i];
  for (int lane = 0; lane < kLanes; lane++) {
    const uint64_t counter = batch.counter + uint64_t(lane) * batch.step;
    counterLow[lane] = static_cast<uint32_t>(counter);
    counterHigh[lane] = static_cast<uint32_t>(counter >> 32);
  }
  for (size_t block = 0; block < batch.blocks; block++) {
    Words m[16];
    loadBlock(batch, block, m);
    uint32_t flags = batch.flags;
    if (block == 0) flags |= batch.firstFlag;
    if (block + 1 == batch.blocks) flags |= batch.lastFlag;
    Words v[16] = {cv[0],           cv[1],           cv[2],           cv[3],
                   cv[4],           cv[5],           cv[6],           cv[7],
                   Words{} + kIv[0], Words{} + kIv[1], Words{} + kIv[2], Words{} + kIv[3],
                   counterLow,      counterHigh,     Words{} + uint32_t(kBlockBytes), Words{} + flags};
#pragma GCC unroll 7
    for (int round = 0; round < kRounds; round++) {
      const uint8_t* s = kSchedule[round];
      mix(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
      mix(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
      mix(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
      mix(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
      mix(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
      mix(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
      mix(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
      mix(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
    }
    for (size_t i = 0; i < kCvWords; i++) cv[i] = v[i] ^ v[i + 8];
  }
  for (size_t from = 0; from < kCvWords; from += kLanes) {
    transpose(cv + from);
    for (int lane = 0; lane < kLanes; lane++) {
      *reinterpret_cast<UnalignedWords*>(out[lane] + from) = cv[from + lane];
    }
  }
}
#undef NYDUS_INLINE
