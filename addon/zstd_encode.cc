// zstd frames by the library that Node carries: its symbols are exported, its header is not shipped.
#include <cerrno>
#include <memory>

#include "codec.h"

// The stable part of zstd's interface (zstd.h).
extern "C" {
struct ZSTD_CCtx_s;
ZSTD_CCtx_s* ZSTD_createCCtx(void);
size_t ZSTD_freeCCtx(ZSTD_CCtx_s* context);
size_t ZSTD_compressCCtx(ZSTD_CCtx_s* context, void* dst, size_t dstCapacity, const void* src, size_t srcSize,
                         int level);
unsigned ZSTD_isError(size_t code);
}

namespace nydus {

int64_t zstdEncode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength) {
  struct Free {
    void operator()(ZSTD_CCtx_s* context) const { ZSTD_freeCCtx(context); }
  };
  // One a thread, used again: making one costs as much as compressing a small chunk.
  thread_local std::unique_ptr<ZSTD_CCtx_s, Free> context(ZSTD_createCCtx());
  if (!context) return -ENOMEM;
  constexpr int kLevel = 3;
  const size_t produced = ZSTD_compressCCtx(context.get(), dst, dstLength, src, srcLength, kLevel);
  return ZSTD_isError(produced) ? -ENOSPC : static_cast<int64_t>(produced);
}

}  // namespace nydus
