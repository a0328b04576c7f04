// LZ4 block encoder (lz4_Block_format.md). Greedy: the position last seen with the same hash is the only candidate,
// and the longer nothing is found, the larger the steps. The sizes of table, hash and steps are those of liblz4's
// default, so that blocks come out as large as the original's.
#include <bit>
#include <cerrno>
#include <cstring>
#include <type_traits>

#include "codec.h"

namespace nydus {

namespace {

constexpr size_t kMinMatch = 4;
// The format's end of a block: the last 5 bytes are literals, and no match begins in the last 12.
constexpr size_t kLastLiterals = 5;
constexpr size_t kMatchStartLimit = 12;
constexpr size_t kDistanceMax = 65535;
// Inputs below this have positions of 16 bits and a table with twice as many of them.
constexpr size_t kSmallInput = 65536 + kMatchStartLimit - 1;
// Misses before the step grows by one.
constexpr unsigned kStepShift = 6;

inline uint32_t read32(const uint8_t* at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
}

inline uint64_t read64(const uint8_t* at) {
  uint64_t value;
  memcpy(&value, at, 8);
  return value;
}

// Positions by the hash of the bytes there: of 4 bytes in small inputs, of 5 in others.
template <typename Position>
class Table {
 public:
  static constexpr bool kSmall = std::is_same_v<Position, uint16_t>;
  static constexpr int kBits = kSmall ? 13 : 12;

  static uint32_t hash(const uint8_t* at) {
    if constexpr (kSmall) return (read32(at) * 2654435761u) >> (32 - kBits);
    return static_cast<uint32_t>(((read64(at) << 24) * 889523592379ull) >> (64 - kBits));
  }

  // The position before, and puts this one in its place.
  size_t exchange(uint32_t hash, size_t position) {
    const size_t before = positions_[hash];
    positions_[hash] = static_cast<Position>(position);
    return before;
  }

 private:
  Position positions_[1 << kBits] = {};
};

// The block as it is written; `full` once something did not fit, and from then on nothing is written.
class Block {
 public:
  Block(uint8_t* out, size_t room) : begin_(out), out_(out), end_(out + room) {}

  bool full() const { return full_; }
  size_t size() const { return static_cast<size_t>(out_ - begin_); }

  void sequence(const uint8_t* literals, size_t literalCount, size_t distance, size_t matchLength) {
    const size_t extra = matchLength - kMinMatch;
    if (!reserve(1 + literalCount / 255 + 1 + literalCount + 2 + extra / 255 + 1)) return;
    putLiterals(literals, literalCount, extra < 15 ? extra : 15);
    *out_++ = static_cast<uint8_t>(distance);
    *out_++ = static_cast<uint8_t>(distance >> 8);
    if (extra >= 15) extend(extra - 15);
  }

  void last(const uint8_t* literals, size_t count) {
    if (reserve(1 + count / 255 + 1 + count)) putLiterals(literals, count, 0);
  }

 private:
  bool reserve(size_t bytes) {
    full_ = full_ || static_cast<size_t>(end_ - out_) < bytes;
    return !full_;
  }

  void putLiterals(const uint8_t* literals, size_t count, size_t matchNibble) {
    *out_++ = static_cast<uint8_t>((count < 15 ? count : 15) << 4 | matchNibble);
    if (count >= 15) extend(count - 15);
    if (count > 0) memcpy(out_, literals, count);
    out_ += count;
  }

  void extend(size_t rest) {
    for (; rest >= 255; rest -= 255) *out_++ = 255;
    *out_++ = static_cast<uint8_t>(rest);
  }

  uint8_t* const begin_;
  uint8_t* out_;
  uint8_t* const end_;
  bool full_ = false;
};

// Equal bytes at `a` and `b`, which lies before it, up to `end`.
inline size_t equalBytes(const uint8_t* a, const uint8_t* b, const uint8_t* end) {
  const uint8_t* const start = a;
  while (a + 8 <= end) {
    const uint64_t difference = read64(a) ^ read64(b);
    if (difference != 0) return static_cast<size_t>(a - start) + static_cast<size_t>(std::countr_zero(difference) / 8);
    a += 8;
    b += 8;
  }
  while (a < end && *a == *b) {
    a++;
    b++;
  }
  return static_cast<size_t>(a - start);
}

template <typename Position>
void encode(const uint8_t* src, size_t length, Block& block) {
  Table<Position> table;
  const size_t searchEnd = length - kMatchStartLimit + 1;  // no match begins here or behind
  const uint8_t* const matchEnd = src + length - kLastLiterals;
  const auto matches = [src](size_t candidate, size_t at) {
    return (Table<Position>::kSmall || at - candidate <= kDistanceMax) && read32(src + candidate) == read32(src + at);
  };
  size_t literals = 0;  // start of what no match covers yet
  table.exchange(Table<Position>::hash(src), 0);
  size_t next = 1;
  uint32_t nextHash = Table<Position>::hash(src + next);
  while (!block.full()) {
    size_t at, candidate, step = 1;
    unsigned misses = 1u << kStepShift;
    do {
      at = next;
      next = at + step;
      step = misses++ >> kStepShift;
      if (next > searchEnd) return block.last(src + literals, length - literals);
      const uint32_t hash = nextHash;
      nextHash = Table<Position>::hash(src + next);
      candidate = table.exchange(hash, at);
    } while (!matches(candidate, at));
    while (at > literals && candidate > 0 && src[at - 1] == src[candidate - 1]) at--, candidate--;
    for (;;) {
      const size_t matched =
          kMinMatch + equalBytes(src + at + kMinMatch, src + candidate + kMinMatch, matchEnd);
      block.sequence(src + literals, at - literals, at - candidate, matched);
      at += matched;
      literals = at;
      if (at >= searchEnd) return block.last(src + literals, length - literals);
      table.exchange(Table<Position>::hash(src + at - 2), at - 2);
      // Often a match begins right where one ends.
      candidate = table.exchange(Table<Position>::hash(src + at), at);
      if (!matches(candidate, at)) break;
    }
    next = at + 1;
    nextHash = Table<Position>::hash(src + next);
  }
}

}  // namespace

int64_t lz4Encode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength) {
  if (srcLength > UINT32_MAX) return -EINVAL;
  Block block(dst, dstLength);
  if (srcLength <= kMatchStartLimit)
    block.last(src, srcLength);
  else if (srcLength < kSmallInput)
    encode<uint16_t>(src, srcLength, block);
  else
    encode<uint32_t>(src, srcLength, block);
  return block.full() ? -ENOSPC : static_cast<int64_t>(block.size());
}

}  // namespace nydus
