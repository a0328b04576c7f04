// The codecs as JavaScript calls them: at once, or on a pool thread.
#include "codec.h"

#include "pool_work.h"

namespace nydus {
namespace {

using Codec = int64_t (*)(const uint8_t*, size_t, uint8_t*, size_t);

napi_value codeNow(napi_env env, napi_callback_info info, Codec codec) {
  Args args(env, info);
  if (!isBytes(env, args[0]) || !isBytes(env, args[1])) return number(env, -EINVAL);
  Bytes src(env, args[0]), dst(env, args[1]);
  return number(env, codec(src.address(), src.length, dst.address(), dst.length));
}

napi_value Lz4Decode(napi_env env, napi_callback_info info) { return codeNow(env, info, lz4Decode); }
napi_value Lz4Encode(napi_env env, napi_callback_info info) { return codeNow(env, info, lz4Encode); }

napi_value Crc32c(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Bytes bytes(env, args[0]);
  return number(env, crc32c(bytes.address(), bytes.length));
}

struct Decoding : PoolTask {
  Codec codec = nullptr;
  const uint8_t* src = nullptr;
  uint8_t* dst = nullptr;
  size_t srcLength = 0, dstLength = 0;
  int64_t execute() { return codec(src, srcLength, dst, dstLength); }
};

napi_value DecodeAsync(napi_env env, napi_callback_info info) {
  Args args(env, info);
  static constexpr Codec decoders[] = {nullptr, lz4Decode, gzipDecode, zstdDecode};
  const uint32_t kind = args.u32(0);
  if (kind < 1 || kind > 3 || !isBytes(env, args[1]) || !isBytes(env, args[2])) return number(env, -EINVAL);
  Bytes src(env, args[1]), dst(env, args[2]);
  auto task = std::make_unique<Decoding>();
  task->codec = decoders[kind];
  task->src = src.address();
  task->srcLength = src.length;
  task->dst = dst.address();
  task->dstLength = dst.length;
  return number(env, PoolWork<Decoding>::start(env, args.instance(), "decode", std::move(task), args[3],
                                               {args[1], args[2]}));
}

struct ZranDecoding : PoolTask {
  const uint8_t* src = nullptr;
  uint8_t* dst = nullptr;
  const uint8_t* dictionary = nullptr;
  size_t srcLength = 0, dstLength = 0, dictionaryLength = 0;
  uint32_t bits = 0, byte = 0;
  int64_t execute() {
    return zranDecode(src, srcLength, dst, dstLength, bits, byte, dictionary, dictionaryLength);
  }
};

napi_value ZranDecodeAsync(napi_env env, napi_callback_info info) {
  Args args(env, info);
  if (!isBytes(env, args[0]) || !isBytes(env, args[1])) return number(env, -EINVAL);
  if (!isBytes(env, args[4]) && !args.isNull(4)) return number(env, -EINVAL);
  Bytes src(env, args[0]), dst(env, args[1]), dictionary(env, args[4]);
  auto task = std::make_unique<ZranDecoding>();
  task->src = src.address();
  task->srcLength = src.length;
  task->dst = dst.address();
  task->dstLength = dst.length;
  task->bits = args.u32(2);
  task->byte = args.u32(3);
  task->dictionary = dictionary.data;
  task->dictionaryLength = dictionary.length;
  return number(env, PoolWork<ZranDecoding>::start(env, args.instance(), "zran", std::move(task), args[5],
                                                   {args[0], args[1], args[4]}));
}

}  // namespace

void defineCodecs(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "lz4Decode", Lz4Decode);
  define(env, exports, instance, "lz4Encode", Lz4Encode);
  define(env, exports, instance, "zranDecodeAsync", ZranDecodeAsync);
  define(env, exports, instance, "decodeAsync", DecodeAsync);
  define(env, exports, instance, "crc32c", Crc32c);
}

}  // namespace nydus
