// gzip, indexed gzip and zstd through the libraries in the node binary, which exports their symbols.
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>

#include "codec.h"

// The prototypes of zstd.h, which node's headers do not include.
extern "C" {
struct ZSTD_DCtx_s;
ZSTD_DCtx_s* ZSTD_createDCtx(void);
size_t ZSTD_freeDCtx(ZSTD_DCtx_s*);
size_t ZSTD_decompressDCtx(ZSTD_DCtx_s*, void* dst, size_t dstCapacity, const void* src, size_t srcSize);
unsigned ZSTD_isError(size_t);
}

namespace nydus {

int64_t zstdDecode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength) {
  struct Free {
    void operator()(ZSTD_DCtx_s* context) const { ZSTD_freeDCtx(context); }
  };
  thread_local std::unique_ptr<ZSTD_DCtx_s, Free> context(ZSTD_createDCtx());
  if (!context) return -ENOMEM;
  if (srcLength == 0) return -EBADMSG;
  const size_t produced = ZSTD_decompressDCtx(context.get(), dst, dstLength, src, srcLength);
  return ZSTD_isError(produced) ? -EBADMSG : static_cast<int64_t>(produced);
}

namespace {

constexpr int kRaw = -MAX_WBITS, kGzip = MAX_WBITS + 16;
constexpr size_t kTrailerBytes = 8;  // CRC-32 and length of a gzip member

// An inflate state that is given back with its scope.
class Inflater {
 public:
  explicit Inflater(int window) { ok_ = inflateInit2(&stream_, window) == Z_OK; }
  ~Inflater() {
    if (ok_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  bool ok() const { return ok_; }
  z_stream* operator->() { return &stream_; }
  z_stream* get() { return &stream_; }

 private:
  z_stream stream_ = {};
  bool ok_ = false;
};

}  // namespace

int64_t gzipDecode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength) {
  if (srcLength > UINT_MAX || dstLength > UINT_MAX) return -EINVAL;
  Inflater stream(kGzip);
  if (!stream.ok()) return -ENOMEM;
  stream->next_in = const_cast<uint8_t*>(src);
  stream->avail_in = static_cast<uInt>(srcLength);
  uint8_t spare;  // zlib refuses a null target, also for an empty member
  stream->next_out = dstLength == 0 ? &spare : dst;
  stream->avail_out = static_cast<uInt>(dstLength);
  int result = inflate(stream.get(), Z_FINISH);
  const auto produced = static_cast<int64_t>(dstLength - stream->avail_out);
  if (result == Z_STREAM_END) return produced;
  if (result != Z_BUF_ERROR || stream->avail_out > 0) return -EBADMSG;
  // The target is full, the member is not at its end: more data shows that it goes on.
  stream->next_out = &spare;
  stream->avail_out = 1;
  result = inflate(stream.get(), Z_FINISH);
  return result == Z_STREAM_END || (stream->avail_out == 0 && result != Z_DATA_ERROR) ? produced : -EBADMSG;
}

int64_t zranDecode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength, uint32_t bits, uint32_t byte,
                   const uint8_t* dictionary, size_t dictionaryLength) {
  if (srcLength > UINT_MAX || dstLength > UINT_MAX || dictionaryLength > 32768) return -EINVAL;
  if (bits > 7 || byte > 255) return -EINVAL;
  if (dstLength == 0) return 0;
  Inflater stream(kRaw);
  if (!stream.ok()) return -ENOMEM;
  // The block begins within a byte: its upper `bits` bits come first.
  if (bits > 0 && inflatePrime(stream.get(), static_cast<int>(bits), static_cast<int>(byte >> (8 - bits))) != Z_OK) {
    return -EBADMSG;
  }
  if (dictionaryLength > 0 &&
      inflateSetDictionary(stream.get(), dictionary, static_cast<uInt>(dictionaryLength)) != Z_OK) {
    return -EBADMSG;
  }
  stream->next_in = const_cast<uint8_t*>(src);
  stream->avail_in = static_cast<uInt>(srcLength);
  stream->next_out = dst;
  stream->avail_out = static_cast<uInt>(dstLength);
  bool raw = true;
  while (stream->avail_out > 0) {
    const int result = inflate(stream.get(), Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      // The end of a member. Of the first one only raw data was read, so that its trailer is still to come.
      if (raw && stream->avail_in < kTrailerBytes) break;
      if (raw) {
        stream->next_in += kTrailerBytes;
        stream->avail_in -= kTrailerBytes;
      }
      raw = false;
      if (stream->avail_in == 0 || inflateReset2(stream.get(), kGzip) != Z_OK) break;
    } else if (result != Z_OK || (stream->avail_in == 0 && stream->avail_out > 0)) {
      break;
    }
  }
  return stream->avail_out == 0 ? static_cast<int64_t>(dstLength) : -EBADMSG;
}

}  // namespace nydus
