// LZ4 block decoder. Copies are done in steps of 16 or 8 bytes that may run over their end as long as the buffer has
// room; near the buffers' ends they are exact.
#include <cerrno>
#include <cstring>

#include "codec.h"

namespace nydus {

namespace {

constexpr size_t kMinMatch = 4;

inline void copy16(uint8_t* to, const uint8_t* from) { memcpy(to, from, 16); }
inline void copy8(uint8_t* to, const uint8_t* from) { memcpy(to, from, 8); }

// A length of 15 goes on in bytes until one is below 255. False at the end of the input.
inline bool extend(const uint8_t*& in, const uint8_t* inEnd, size_t& length) {
  uint8_t byte;
  do {
    if (in >= inEnd) return false;
    byte = *in++;
    length += byte;
  } while (byte == 255);
  return true;
}

// A match whose source may overlap its target; writes up to 15 bytes beyond when `room` allows it.
inline void copyMatch(uint8_t* out, size_t offset, size_t length, size_t room) {
  const uint8_t* from = out - offset;
  if (room < length + 16) {
    for (size_t i = 0; i < length; i++) out[i] = from[i];
    return;
  }
  uint8_t* const end = out + length;
  if (offset >= 16) {
    do {
      copy16(out, from);
      out += 16;
      from += 16;
    } while (out < end);
    return;
  }
  if (offset == 1) {
    memset(out, *from, length);
    return;
  }
  // A pattern shorter than a step: lay it out once by bytes up to a multiple of its length of at least 8, then copy
  // from that.
  size_t period = offset;
  if (period < 8) {
    while (period < 8) period += offset;
    const size_t lead = period < length ? period : length;
    for (size_t i = 0; i < lead; i++) out[i] = from[i];
    out += lead;
    from = out - period;
  }
  while (out < end) {
    copy8(out, from);
    out += 8;
    from += 8;
  }
}

inline void copyLiterals(uint8_t* out, const uint8_t* in, size_t length) {
  uint8_t* const end = out + length;
  do {
    copy16(out, in);
    out += 16;
    in += 16;
  } while (out < end);
}

}  // namespace

int64_t lz4Decode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength) {
  const uint8_t* in = src;
  const uint8_t* const inEnd = src + srcLength;
  uint8_t* out = dst;
  uint8_t* const outEnd = dst + dstLength;
  while (in < inEnd) {
    const uint8_t token = *in++;
    size_t literals = token >> 4;
    if (literals == 15 && !extend(in, inEnd, literals)) return -EBADMSG;
    const size_t inRoom = static_cast<size_t>(inEnd - in), outRoom = static_cast<size_t>(outEnd - out);
    if (literals > inRoom || literals > outRoom) return -EBADMSG;
    if (inRoom - literals >= 16 && outRoom - literals >= 16) {
      copyLiterals(out, in, literals);
    } else if (literals > 0) {
      memcpy(out, in, literals);
    }
    in += literals;
    out += literals;
    if (in == inEnd) return out - dst;  // the last sequence has no match
    if (inEnd - in < 2) return -EBADMSG;
    const size_t offset = static_cast<size_t>(in[0]) | static_cast<size_t>(in[1]) << 8;
    in += 2;
    if (offset == 0 || offset > static_cast<size_t>(out - dst)) return -EBADMSG;
    size_t length = token & 15;
    if (length == 15 && !extend(in, inEnd, length)) return -EBADMSG;
    length += kMinMatch;
    const size_t room = static_cast<size_t>(outEnd - out);
    if (length > room) return -EBADMSG;
    copyMatch(out, offset, length, room);
    out += length;
  }
  return -EBADMSG;  // empty, or ends behind a match
}

}  // namespace nydus
