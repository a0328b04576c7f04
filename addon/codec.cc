// Decoders. zlib and zstd are those of the node binary, which exports their symbols.
#include <node_api.h>

#include "codec.h"
#include "common.h"

namespace nydus {
void defineCodecs(napi_env, napi_value, Instance*) {}
}
