// Encoders on a pool thread, many pieces with one call: waking a thread costs as much as compressing a small file.
#include "codec.h"
#include "pool_work.h"

namespace nydus {
namespace {

using Encoder = int64_t (*)(const uint8_t*, size_t, uint8_t*, size_t);

// A row of the table of pieces. `result` is the room in the target before, and bytes produced or -errno afterwards.
struct Piece {
  int32_t from, length, to, result;
};

struct Encoding : PoolTask {
  Encoder encoder = nullptr;
  const uint8_t* source = nullptr;
  uint8_t* target = nullptr;
  Piece* pieces = nullptr;
  size_t count = 0;

  int64_t execute() {
    for (size_t i = 0; i < count; i++) {
      Piece& piece = pieces[i];
      piece.result = static_cast<int32_t>(encoder(source + piece.from, static_cast<size_t>(piece.length),
                                                  target + piece.to, static_cast<size_t>(piece.result)));
    }
    return 0;
  }
};

bool lies(int32_t at, int32_t length, size_t within) {
  return at >= 0 && length >= 0 && static_cast<size_t>(at) + static_cast<size_t>(length) <= within;
}

Encoder encoderOf(uint32_t kind) {
  if (kind == 1) return lz4Encode;
  return kind == 3 ? zstdEncode : nullptr;
}

napi_value EncodeAsync(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Bytes source(env, args[1]), target(env, args[2]);
  Ints table(env, args[3]);
  auto encoding = std::make_unique<Encoding>();
  encoding->encoder = encoderOf(args.u32(0));
  encoding->source = source.data;
  encoding->target = target.data;
  static_assert(sizeof(Piece) == 4 * sizeof(int32_t));
  encoding->pieces = reinterpret_cast<Piece*>(table.data);
  encoding->count = table.length / 4;
  if (encoding->encoder == nullptr || encoding->count == 0 || table.length % 4 != 0) return number(env, -EINVAL);
  for (size_t i = 0; i < encoding->count; i++) {
    const Piece& piece = encoding->pieces[i];
    if (!lies(piece.from, piece.length, source.length) || !lies(piece.to, piece.result, target.length)) {
      return number(env, -EINVAL);
    }
  }
  return number(env, PoolWork<Encoding>::start(env, args.instance(), "encode", std::move(encoding), args[4],
                                               {args[1], args[2], args[3]}));
}

}  // namespace

void defineEncoders(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "encodeAsync", EncodeAsync);
}

}  // namespace nydus
