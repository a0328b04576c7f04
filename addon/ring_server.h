// A ring joined to the environment that serves it.
#pragma once
#include "common.h"
#include "ring.h"

namespace nydus {

struct RingPoll {
  uv_poll_t handle;
  RingServer* server;  // null once the ring was detached
  Instance* instance;
};

struct RingServer {
  Ring ring;
  Instance* instance = nullptr;
  napi_ref onKick = nullptr;
  napi_ref buffers[3] = {};  // requests, replies, state: kept alive, and with them their memory
  RingPoll* poll = nullptr;
  uint64_t plainFds[16] = {};  // bit per descriptor below 1024 whose file system has no RWF_NOWAIT
};

// The ring of handle `handle`, or null once it was detached.
inline const std::shared_ptr<RingServer>* findRing(Instance& instance, uint32_t handle) {
  if (handle >= instance.rings.size() || !instance.rings[handle]) return nullptr;
  return &instance.rings[handle];
}

void defineRingIo(napi_env env, napi_value exports, Instance* instance);

}  // namespace nydus
