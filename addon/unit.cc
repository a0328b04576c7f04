// landUnit: the stored bytes of one unit of a blob become verified bytes in the cache file, all on one pool thread.
#include <openssl/evp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <climits>

#include "blake3.h"
#include "codec.h"
#include "own_fd.h"
#include "pool_work.h"
#include "xts.h"

namespace nydus {
namespace {

constexpr size_t kDigestBytes = 32;
constexpr double kOffsetMax = 9007199254740991.0;  // 2^53-1: the last whole number that a double tells from the next

enum Decoder : uint32_t { kNone, kLz4, kGzip, kZstd, kZran, kDecoders };
constexpr uint32_t kMaybeRaw = 8;  // the unit is not compressed if its plain bytes are as many as the target has

enum DigestKind : uint32_t { kNoDigest, kSha256, kBlake3, kDigestKinds };

// What a piece comes to; a failed write is its -errno instead.
constexpr int32_t kGood = 0, kWrongCrc = 1, kWrongDigest = 2;

// How much less of a processor the threads that bring chunks get, if others want it: a guest that waits for one leaves
// room to guests whose data is there. 5 is a third.
constexpr int kNice = 5;

// Lowers the priority of the calling thread while it lives (on Linux `who` 0 is that thread). A pool thread does other
// work, too, so where its priority cannot be raised again, without privilege, it stays as it is.
class Lowered {
 public:
  Lowered() : before_(getpriority(PRIO_PROCESS, 0)) {
    static const bool canRaise = geteuid() == 0;
    if (canRaise) isLow_ = setpriority(PRIO_PROCESS, 0, before_ + kNice) == 0;
  }
  ~Lowered() {
    if (isLow_) setpriority(PRIO_PROCESS, 0, before_);
  }
  Lowered(const Lowered&) = delete;
  Lowered& operator=(const Lowered&) = delete;

 private:
  const int before_;
  bool isLow_ = false;
};

// A part of the target to be verified and kept.
struct Piece {
  size_t at, length;
  int64_t cacheOffset;  // -1: not written
  int64_t crc;          // -1: none
  uint32_t digestKind;
  uint8_t digest[kDigestBytes];
};

// The columns of a row of the table that JavaScript gives.
enum Column { kAt, kLength, kCacheOffset, kCrc, kDigestKindColumn, kDigestAt, kColumns };

// All of the bytes, or -errno.
int32_t writeAll(const OwnFd& file, const uint8_t* bytes, size_t length, int64_t offset) {
  if (file.error() != 0) return file.error();
  while (length > 0) {
    const ssize_t n = pwrite(file.get(), bytes, length, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) return -EIO;
    bytes += n;
    length -= static_cast<size_t>(n);
    offset += n;
  }
  return 0;
}

struct Landing : PoolTask {
  explicit Landing(int cacheFd) : isKept(cacheFd >= 0), file(cacheFd) {}

  const bool isKept;
  const OwnFd file;
  const uint8_t* src = nullptr;
  uint8_t* dst = nullptr;
  const uint8_t* dictionary = nullptr;
  size_t srcLength = 0, dstLength = 0, dictionaryLength = 0;
  uint32_t decoder = kNone, bits = 0, byte = 0;
  bool maybeRaw = false, isEncrypted = false;
  uint8_t cipher[kXtsKeyBytes + kXtsIvBytes];
  std::vector<Piece> pieces;
  int32_t* verdicts = nullptr;

  int64_t execute() {
    const Lowered lowered;
    const int64_t failure = isEncrypted ? decrypted() : decoded(src, srcLength);
    if (failure != 0) return failure;
    for (size_t i = 0; i < pieces.size(); i++) verdicts[i] = landed(pieces[i]);
    return 0;
  }

 private:
  // Fills the target; 0, -EBADMSG or -ENOMEM.
  int64_t decrypted() {
    std::unique_ptr<uint8_t[]> plain(new (std::nothrow) uint8_t[srcLength]);
    if (!plain) return -ENOMEM;
    const int64_t length = xtsDecrypt(cipher, cipher + kXtsKeyBytes, src, srcLength, plain.get());
    return length < 0 ? length : decoded(plain.get(), static_cast<size_t>(length));
  }

  int64_t decoded(const uint8_t* plain, size_t length) {
    const bool isRaw = decoder == kNone || (maybeRaw && length == dstLength);
    const int64_t produced = isRaw ? copied(plain, length) : decompressed(plain, length);
    if (produced == -ENOMEM) return produced;
    return produced == static_cast<int64_t>(dstLength) ? 0 : -EBADMSG;
  }

  int64_t copied(const uint8_t* plain, size_t length) {
    if (length == dstLength && length > 0) memmove(dst, plain, length);
    return static_cast<int64_t>(length);
  }

  int64_t decompressed(const uint8_t* plain, size_t length) {
    switch (decoder) {
      case kLz4:
        return lz4Decode(plain, length, dst, dstLength);
      case kGzip:
        return gzipDecode(plain, length, dst, dstLength);
      case kZstd:
        return zstdDecode(plain, length, dst, dstLength);
      default:
        return zranDecode(plain, length, dst, dstLength, bits, byte, dictionary, dictionaryLength);
    }
  }

  int32_t landed(const Piece& piece) {
    const uint8_t* bytes = dst + piece.at;
    if (piece.crc >= 0 && crc32c(bytes, piece.length) != static_cast<uint32_t>(piece.crc)) return kWrongCrc;
    if (piece.digestKind != kNoDigest && !hasDigest(piece, bytes)) return kWrongDigest;
    if (!isKept || piece.cacheOffset < 0) return kGood;
    return writeAll(file, bytes, piece.length, piece.cacheOffset);
  }

  static bool hasDigest(const Piece& piece, const uint8_t* bytes) {
    uint8_t actual[kDigestBytes];
    if (piece.digestKind == kBlake3) {
      blake3(bytes, piece.length, actual);
    } else if (EVP_Digest(bytes, piece.length, actual, nullptr, EVP_sha256(), nullptr) != 1) {
      return false;
    }
    return memcmp(actual, piece.digest, kDigestBytes) == 0;
  }
};

bool isWhole(double value, double most) { return value >= 0 && value <= most && value == __builtin_trunc(value); }

// Whether [at, at+length) lies within `size` bytes.
bool lies(double at, double length, size_t size) {
  return isWhole(at, kOffsetMax) && isWhole(length, kOffsetMax) && at + length <= static_cast<double>(size);
}

// Checks a row of the table. False: it names bytes that are not there, or nothing that is known.
bool readPiece(const double* row, size_t dstLength, const Bytes& digests, Piece* piece) {
  const double cacheOffset = row[kCacheOffset], crc = row[kCrc], kind = row[kDigestKindColumn];
  if (!lies(row[kAt], row[kLength], dstLength)) return false;
  if (cacheOffset != -1 && !isWhole(cacheOffset, kOffsetMax - row[kLength])) return false;
  if (crc != -1 && !isWhole(crc, UINT32_MAX)) return false;
  if (!isWhole(kind, kDigestKinds - 1)) return false;
  piece->at = static_cast<size_t>(row[kAt]);
  piece->length = static_cast<size_t>(row[kLength]);
  piece->cacheOffset = static_cast<int64_t>(cacheOffset);
  piece->crc = static_cast<int64_t>(crc);
  piece->digestKind = static_cast<uint32_t>(kind);
  if (piece->digestKind == kNoDigest) return true;
  if (!lies(row[kDigestAt], kDigestBytes, digests.length)) return false;
  memcpy(piece->digest, digests.data + static_cast<size_t>(row[kDigestAt]), kDigestBytes);
  return true;
}

enum Argument { kFd, kKind, kBits, kByte, kSrc, kDst, kCipher, kDictionary, kPieces, kDigests, kVerdicts, kDone };
using LandArgs = ArgsUpTo<kDone + 1>;

bool areTyped(napi_env env, const LandArgs& args) {
  for (Argument bytes : {kSrc, kDst, kDigests}) {
    if (!isBytes(env, args[bytes])) return false;
  }
  for (Argument optional : {kCipher, kDictionary}) {
    if (!isBytes(env, args[optional]) && !args.isNull(optional)) return false;
  }
  return isArrayOf(env, args[kPieces], napi_float64_array) && isArrayOf(env, args[kVerdicts], napi_int32_array);
}

// How the unit becomes plain; false: not a way that is known, or more than the codecs take.
bool readCoding(napi_env env, const LandArgs& args, Landing* task) {
  Bytes cipher(env, args[kCipher]), dictionary(env, args[kDictionary]);
  const int64_t kind = args.size(kKind), bits = args.size(kBits), byte = args.size(kByte);
  if (kind < 0 || kind >= kMaybeRaw + kDecoders || (kind & ~kMaybeRaw) >= kDecoders) return false;
  if (bits < 0 || bits > 7 || byte < 0 || byte > 255 || dictionary.length > 32768) return false;
  if (task->srcLength > INT_MAX || task->dstLength > INT_MAX) return false;
  task->decoder = static_cast<uint32_t>(kind & ~kMaybeRaw);
  task->maybeRaw = (kind & kMaybeRaw) != 0;
  task->bits = static_cast<uint32_t>(bits);
  task->byte = static_cast<uint32_t>(byte);
  task->dictionary = dictionary.data;
  task->dictionaryLength = dictionary.length;
  task->isEncrypted = !args.isNull(kCipher);
  if (!task->isEncrypted) return true;
  if (cipher.length != sizeof(task->cipher)) return false;
  memcpy(task->cipher, cipher.data, sizeof(task->cipher));
  return true;
}

bool readPieces(napi_env env, const LandArgs& args, Landing* task) {
  Doubles table(env, args[kPieces]);
  Bytes digests(env, args[kDigests]);
  if (table.length % kColumns != 0) return false;
  task->pieces.resize(table.length / kColumns);
  for (size_t i = 0; i < task->pieces.size(); i++) {
    if (!readPiece(table.data + i * kColumns, task->dstLength, digests, &task->pieces[i])) return false;
  }
  return true;
}

napi_value LandUnit(napi_env env, napi_callback_info info) {
  LandArgs args(env, info);
  if (!areTyped(env, args)) return number(env, -EINVAL);
  Bytes src(env, args[kSrc]), dst(env, args[kDst]);
  Ints verdicts(env, args[kVerdicts]);
  auto task = std::make_unique<Landing>(args.i32(kFd));
  task->src = src.address();
  task->srcLength = src.length;
  task->dst = dst.address();
  task->dstLength = dst.length;
  task->verdicts = verdicts.data;
  if (!readCoding(env, args, task.get()) || !readPieces(env, args, task.get())) return number(env, -ERANGE);
  if (verdicts.length < task->pieces.size()) return number(env, -ERANGE);
  // Whoever looks at them after a failure of the whole unit must not take a piece for good.
  for (size_t i = 0; i < task->pieces.size(); i++) verdicts.data[i] = -ECANCELED;
  const auto kept = {args[kSrc], args[kDst], args[kDictionary], args[kVerdicts]};
  return number(env, PoolWork<Landing>::start(env, args.instance(), "unit", std::move(task), args[kDone], kept));
}

napi_value LowerPriority(napi_env env, napi_callback_info) {
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kNice);
  return number(env, 0);
}

}  // namespace

void defineUnits(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "lowerPriority", LowerPriority);
  define(env, exports, instance, "landUnit", LandUnit);
}

}  // namespace nydus
