// Encoders on a pool thread, many pieces with one call: waking a thread costs as much as compressing a small file.
#include "codec.h"
#include "common.h"

namespace nydus {
namespace {

using Encoder = int64_t (*)(const uint8_t*, size_t, uint8_t*, size_t);

// A row of the table of pieces. `result` is the room in the target before, and bytes produced or -errno afterwards.
struct Piece {
  int32_t from, length, to, result;
};

struct Encoding {
  Encoder encoder = nullptr;
  const uint8_t* source = nullptr;
  uint8_t* target = nullptr;
  Piece* pieces = nullptr;
  size_t count = 0;
  napi_ref keep[4] = {};  // source, target, pieces, callback: they must outlive the work
  napi_async_work work = nullptr;

  void drop(napi_env env) {
    for (napi_ref& reference : keep) {
      if (reference != nullptr) napi_delete_reference(env, reference);
      reference = nullptr;
    }
  }
};

bool lies(int32_t at, int32_t length, size_t within) {
  return at >= 0 && length >= 0 && static_cast<size_t>(at) + static_cast<size_t>(length) <= within;
}

void encodeAll(napi_env, void* data) {
  auto& e = *static_cast<Encoding*>(data);
  for (size_t i = 0; i < e.count; i++) {
    Piece& piece = e.pieces[i];
    piece.result = static_cast<int32_t>(e.encoder(e.source + piece.from, static_cast<size_t>(piece.length),
                                                  e.target + piece.to, static_cast<size_t>(piece.result)));
  }
}

void onEncoded(napi_env env, napi_status status, void* data) {
  std::unique_ptr<Encoding> encoding(static_cast<Encoding*>(data));
  napi_delete_async_work(env, encoding->work);
  callJs(env, encoding->keep[3], true, status == napi_ok ? 0 : -ECANCELED);
  encoding->drop(env);
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
  napi_valuetype type;
  const bool callable = napi_typeof(env, args[4], &type) == napi_ok && type == napi_function;
  if (encoding->encoder == nullptr || !callable || encoding->count == 0 || table.length % 4 != 0) {
    return number(env, -EINVAL);
  }
  for (size_t i = 0; i < encoding->count; i++) {
    const Piece& piece = encoding->pieces[i];
    if (!lies(piece.from, piece.length, source.length) || !lies(piece.to, piece.result, target.length)) {
      return number(env, -EINVAL);
    }
  }
  for (int i = 0; i < 4; i++) napi_create_reference(env, args[1 + i], 1, &encoding->keep[i]);
  napi_value name;
  napi_create_string_utf8(env, "encode", NAPI_AUTO_LENGTH, &name);
  if (napi_create_async_work(env, nullptr, name, encodeAll, onEncoded, encoding.get(), &encoding->work) != napi_ok) {
    encoding->drop(env);
    return number(env, -ENOMEM);
  }
  if (napi_queue_async_work(env, encoding->work) != napi_ok) {
    napi_delete_async_work(env, encoding->work);
    encoding->drop(env);
    return number(env, -EAGAIN);
  }
  encoding.release();
  return number(env, 0);
}

}  // namespace

void defineEncoders(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "encodeAsync", EncodeAsync);
}

}  // namespace nydus
