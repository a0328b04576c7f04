// Inflates gzip data step by step and knows, at any time, where inflating could begin anew: the last deflate block's
// first bit, and the window before it. RAFS calls such a place a zran context.
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "common.h"

namespace nydus {
namespace {

constexpr size_t kWindow = 32768;
constexpr int kGzip = MAX_WBITS + 16;
// Bits of z_stream.data_type behind an inflate(Z_BLOCK).
constexpr int kPendingBits = 7, kLastBlock = 64, kAtBlock = 128;
constexpr napi_type_tag kTag = {0x6e796475732d677a, 0x69702d696e646578};

// The last 32 KiB before a position of a stream, each byte at its position modulo the size.
struct Window {
  uint8_t bytes[kWindow];

  void put(uint64_t position, const uint8_t* from, size_t length) {
    if (length > kWindow) {
      position += length - kWindow;
      from += length - kWindow;
      length = kWindow;
    }
    const size_t at = position % kWindow, first = std::min(length, kWindow - at);
    memcpy(bytes + at, from, first);
    memcpy(bytes, from + first, length - first);
  }
  void get(uint64_t position, uint8_t* to, size_t length) const {
    const size_t at = position % kWindow, first = std::min(length, kWindow - at);
    memcpy(to, bytes + at, first);
    memcpy(to + first, bytes, length - first);
  }
};

// Positions count bytes of the file (in) and of the data of all members (out).
struct Block {
  uint64_t in = 0, out = 0;
  uint8_t bits = 0, byte = 0;
  // Data of the member before the block: its last 32 KiB are the dictionary.
  uint64_t member = 0, memberOut = 0;
};

class GzipIndex {
 public:
  GzipIndex() { ok_ = inflateInit2(&stream_, kGzip) == Z_OK; }
  ~GzipIndex() {
    if (ok_) inflateEnd(&stream_);
  }
  GzipIndex(const GzipIndex&) = delete;
  GzipIndex& operator=(const GzipIndex&) = delete;
  bool ok() const { return ok_; }

  // Inflates until the output is full or the input used up. 0 or -errno.
  int64_t read(const uint8_t* in, size_t inLength, uint8_t* out, size_t outLength) {
    stream_.next_in = const_cast<uint8_t*>(in);
    stream_.avail_in = static_cast<uInt>(inLength);
    stream_.next_out = out;
    stream_.avail_out = static_cast<uInt>(outLength);
    while (stream_.avail_out > 0 && stream_.avail_in > 0) {
      const int64_t result = step();
      if (result < 0) return result;
    }
    return 0;
  }

  size_t inLeft() const { return stream_.avail_in; }
  size_t outLeft() const { return stream_.avail_out; }

  void report(double* to) const {
    to[0] = static_cast<double>(totalIn_);
    to[1] = static_cast<double>(totalOut_);
    to[2] = insideMember_ ? 1 : 0;
    to[3] = static_cast<double>(boundaryIn_);
    to[4] = static_cast<double>(block_.in);
    to[5] = static_cast<double>(block_.out);
    to[6] = block_.bits;
    to[7] = block_.byte;
    to[8] = static_cast<double>(dictionaryLength());
  }
  static constexpr size_t kReport = 9;

  size_t dictionaryLength() const { return static_cast<size_t>(std::min<uint64_t>(block_.memberOut, kWindow)); }
  void dictionary(uint8_t* to) const {
    const size_t length = dictionaryLength();
    atBlock_.get(block_.memberOut - length, to, length);
  }

 private:
  int64_t step() {
    const uint8_t* const in = stream_.next_in;
    const uint8_t* const out = stream_.next_out;
    const int result = inflate(&stream_, Z_BLOCK);
    const size_t consumed = static_cast<size_t>(stream_.next_in - in);
    const size_t produced = static_cast<size_t>(stream_.next_out - out);
    if (consumed > 0) {
      insideMember_ = true;
      lastByte_ = in[consumed - 1];
    }
    totalIn_ += consumed;
    totalOut_ += produced;
    recent_.put(memberOut_, out, produced);
    memberOut_ += produced;
    if (result == Z_STREAM_END) {
      member_++;
      memberOut_ = 0;
      insideMember_ = false;
      return inflateReset(&stream_) == Z_OK ? 0 : -EINVAL;
    }
    if (result == Z_MEM_ERROR) return -ENOMEM;
    // Z_BUF_ERROR: nothing could be done, which is no fault once the input is used up.
    if (result != Z_OK && !(result == Z_BUF_ERROR && stream_.avail_in == 0)) return -EBADMSG;
    if (stream_.data_type & kAtBlock) enterBlock();
    return 0;
  }

  void enterBlock() {
    boundaryIn_ = totalIn_;
    // Behind a member's last block comes its trailer, from which nothing can be inflated.
    if (stream_.data_type & kLastBlock) return;
    const uint64_t since = block_.member == member_ ? memberOut_ - block_.memberOut : memberOut_;
    const size_t fresh = static_cast<size_t>(std::min<uint64_t>(since, kWindow));
    uint8_t bytes[kWindow];
    recent_.get(memberOut_ - fresh, bytes, fresh);
    atBlock_.put(memberOut_ - fresh, bytes, fresh);
    const auto bits = static_cast<uint8_t>(stream_.data_type & kPendingBits);
    block_ = {totalIn_, totalOut_, bits, bits == 0 ? uint8_t{0} : lastByte_, member_, memberOut_};
  }

  z_stream stream_ = {};
  bool ok_ = false;
  bool insideMember_ = false;
  uint8_t lastByte_ = 0;  // consumed last; its buffer may be gone
  uint64_t totalIn_ = 0, totalOut_ = 0, member_ = 0, memberOut_ = 0;
  uint64_t boundaryIn_ = 0;  // where the last block met began or, at a member's end, its trailer
  Block block_;
  Window recent_, atBlock_;
};

GzipIndex* indexOf(napi_env env, napi_value value) {
  napi_valuetype type;
  bool ours = false;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  if (napi_check_object_type_tag(env, value, &kTag, &ours) != napi_ok || !ours) return nullptr;
  return napi_get_value_external(env, value, &data) == napi_ok ? static_cast<GzipIndex*>(data) : nullptr;
}

napi_value GzipIndexCreate(napi_env env, napi_callback_info) {
  auto index = std::make_unique<GzipIndex>();
  if (!index->ok()) return number(env, -ENOMEM);
  const auto free = [](napi_env, void* data, void*) { delete static_cast<GzipIndex*>(data); };
  napi_value external;
  if (napi_create_external(env, index.get(), free, nullptr, &external) != napi_ok) return number(env, -ENOMEM);
  index.release();
  if (napi_type_tag_object(env, external, &kTag) != napi_ok) return number(env, -EINVAL);
  return external;
}

// A part [from, to) of a Uint8Array, or false.
bool part(const Bytes& bytes, int64_t from, int64_t to, uint8_t** data, size_t* length) {
  if (from < 0 || to < from || static_cast<uint64_t>(to) > bytes.length || to - from > INT32_MAX) return false;
  static uint8_t nothing;
  *data = bytes.data == nullptr ? &nothing : bytes.data + from;
  *length = static_cast<size_t>(to - from);
  return true;
}

napi_value GzipIndexRead(napi_env env, napi_callback_info info) {
  Args args(env, info);
  GzipIndex* index = indexOf(env, args[0]);
  Bytes in(env, args[1]), out(env, args[4]);
  Span<double> report(env, args[7], napi_float64_array);
  uint8_t *inData, *outData;
  size_t inLength, outLength;
  if (index == nullptr || report.length < 2 + GzipIndex::kReport) return number(env, -EINVAL);
  if (!part(in, args.size(2), args.size(3), &inData, &inLength)) return number(env, -EINVAL);
  if (!part(out, args.size(5), args.size(6), &outData, &outLength)) return number(env, -EINVAL);
  const int64_t result = index->read(inData, inLength, outData, outLength);
  report.data[0] = static_cast<double>(inLength - index->inLeft());
  report.data[1] = static_cast<double>(outLength - index->outLeft());
  index->report(report.data + 2);
  return number(env, result);
}

napi_value GzipIndexDictionary(napi_env env, napi_callback_info info) {
  Args args(env, info);
  GzipIndex* index = indexOf(env, args[0]);
  Bytes out(env, args[1]);
  if (index == nullptr || out.length < index->dictionaryLength()) return number(env, -EINVAL);
  if (index->dictionaryLength() > 0) index->dictionary(out.data);
  return number(env, static_cast<int64_t>(index->dictionaryLength()));
}

}  // namespace

void defineGzipIndex(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "gzipIndexCreate", GzipIndexCreate);
  define(env, exports, instance, "gzipIndexRead", GzipIndexRead);
  define(env, exports, instance, "gzipIndexDictionary", GzipIndexDictionary);
}

}  // namespace nydus
