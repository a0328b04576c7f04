// What the files of BLAKE3 share: constants, flags and the order of the message words. Section 2 of the paper.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nydus::blake3core {

constexpr size_t kBlockBytes = 64;
constexpr size_t kChunkBytes = 1024;
constexpr size_t kCvWords = 8;  // of a chaining value

constexpr uint32_t kChunkStart = 1, kChunkEnd = 2, kParent = 4, kRoot = 8;

constexpr uint32_t kIv[kCvWords] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

// By round: the message words in the order in which the eight G take them, two each.
constexpr int kRounds = 7;
constexpr uint8_t kSchedule[kRounds][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},  {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
    {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},  {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
    {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},  {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
    {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13},
};

// The inputs of one call of a kernel: `blocks` blocks each, hashed side by side.
struct Batch {
  const uint8_t* const* inputs;
  size_t blocks;
  uint64_t counter;    // of the first input
  uint32_t step;       // 1: each next input has the next counter; 0: all have the same
  uint32_t flags;      // of every block, and besides
  uint32_t firstFlag;  // of the first block
  uint32_t lastFlag;   // of the last one
};

}  // namespace nydus::blake3core
