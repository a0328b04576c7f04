// Decoders and encoders of chunk data. All take hostile input and never touch memory outside their two buffers.
#pragma once
#include <cstddef>
#include <cstdint>

namespace nydus {

// Raw LZ4 block (lz4_Block_format.md). Bytes produced, or -EBADMSG.
int64_t lz4Decode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength);

// Raw LZ4 block of any bytes. Bytes produced, -ENOSPC when they might not fit, -EINVAL for 4 GiB and more.
int64_t lz4Encode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength);

// Whole zstd frames. Bytes produced, or -EBADMSG.
int64_t zstdDecode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength);

// One zstd frame, level 3, which says its size. Bytes produced, or -ENOSPC when it does not fit.
int64_t zstdEncode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength);

// The first dstLength bytes of a gzip member, or all if it has fewer; what follows is ignored: in eStargz layers the
// headers of the next files share a chunk's member. Bytes produced, or -EBADMSG.
int64_t gzipDecode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength);

// Raw deflate data from the middle of a gzip file: `bits` bits of `byte` precede it and `dictionary` is the window
// before it. Goes on over the ends of gzip members and produces exactly dstLength bytes, or -EBADMSG.
int64_t zranDecode(const uint8_t* src, size_t srcLength, uint8_t* dst, size_t dstLength, uint32_t bits, uint32_t byte,
                   const uint8_t* dictionary, size_t dictionaryLength);

// CRC-32C (Castagnoli, reflected, as iSCSI has it).
uint32_t crc32c(const uint8_t* bytes, size_t length);

}  // namespace nydus
