// Devices: what the control thread configures and the serving threads read.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "memory.h"

namespace nydus {

constexpr uint64_t kFeatureIndirect = 1ull << 28;
constexpr uint64_t kFeatureEventIdx = 1ull << 29;
constexpr uint32_t kQueueSizeMax = 32768;

struct Desc {
  uint64_t addr;
  uint32_t len;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(Desc) == 16);

// Addresses of a ring in this process (VIRTIO 1.2 §2.7). The guest writes all of it at any time.
struct RingMemory {
  const Desc* desc = nullptr;
  uint16_t* avail = nullptr;  // flags, idx, ring[num], used_event
  uint8_t* used = nullptr;    // flags u16, idx u16, {id u32, len u32}[num], avail_event u16
};

// One virtqueue. `lock` guards everything: held by the serving thread during pop, flush and arm, by the control thread
// while it changes something. It is never held over a read of a file.
struct Queue {
  std::mutex lock;
  uint32_t num = 0;
  uint64_t descUva = 0, usedUva = 0, availUva = 0;
  bool hasAddr = false;
  uint16_t base = 0;  // next avail index
  int kick = -1, call = -1, err = -1;
  bool attached = false;
  MemoryRef map;            // the table that buffers are translated with
  MemoryRef ringMap;        // the table that `memory` points into
  RingMemory memory;
  ~Queue();

  // Translates the ring's addresses with `table`. 0, -EINVAL unset or misaligned, -EFAULT outside the table.
  int translate(const MemoryRef& table, RingMemory* out) const;
};

struct Inflight {
  std::shared_ptr<Mapping> mapping;
  uint32_t queues = 0, queueSize = 0;
  uint64_t stride() const { return (16 + 16ull * queueSize + 63) / 64 * 64; }
};

struct Device {
  explicit Device(uint32_t count) : queues(count) {}
  std::atomic<bool> dead{false};
  std::atomic<uint64_t> features{0};
  std::mutex lock;  // guards the members below; taken before a queue's lock
  MemoryRef map;
  std::vector<std::weak_ptr<const MemoryMap>> older;
  Inflight inflight;
  std::vector<Queue> queues;

  // Publishes `map` to all queues.
  void replaceMemory(MemoryRef next);
};

// The device of this number, or null.
std::shared_ptr<Device> findDevice(int32_t id);

}  // namespace nydus
