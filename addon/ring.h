// One split virtqueue as its serving thread sees it (VIRTIO 1.2 §2.7).
#pragma once
#include <sys/uio.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <vector>

#include "device.h"

namespace nydus {

constexpr uint32_t kRequestBytes = 4160, kReplyBytes = 256, kStateWords = 8;
constexpr uint32_t kSlotsMax = 32768;
// Pieces of a reply which are not adjacent in memory: what preadv takes at once (IOV_MAX).
constexpr uint32_t kPartsMax = 1024;
constexpr uint32_t kIndirectMax = 1024;

// Words of a slot's state row; the same as `State` in src/native/ring.ts.
enum StateWord { kReadable = 0, kCopied = 1, kWritable = 2, kInline = 3, kTotal = 4, kTicket = 5 };

struct Slot {
  uint16_t head = 0;
  bool used = false;
  bool busy = false;  // a pool thread reads into it
  uint32_t parts = 0;
  uint64_t writable = 0;
  iovec* iov = nullptr;
  MemoryHold hold;
};

// The in-flight log of one queue (vhost-user, "inflight I/O tracking"), in memory shared with the front-end: every
// access can fault and every value can be wrong.
struct InflightLog {
  struct Entry {
    uint8_t inflight;
    uint8_t pad[5];
    uint16_t next;
    uint64_t counter;
  };
  struct Header {
    uint64_t features;
    uint16_t version, descNum, lastBatchHead, usedIdx;
  };
  static_assert(sizeof(Entry) == 16 && sizeof(Header) == 16);
  std::shared_ptr<Mapping> mapping;
  Header* header = nullptr;
  Entry* entries = nullptr;
  uint64_t counter = 0;

  explicit operator bool() const { return header != nullptr; }
  // Heads to resubmit in the order they were taken; `known` is false for a log that was not in use yet.
  // False when the memory faulted.
  bool recover(uint32_t num, uint16_t usedIdx, bool* known, std::vector<uint16_t>* heads);
  // The following run inside guarded().
  void take(uint16_t head);
  void put(uint16_t head);
  void settle(const uint16_t* heads, uint32_t count, uint16_t usedIdx);
};

struct RingStats {
  uint64_t popped = 0, completed = 0, malformed = 0, notified = 0, kicks = 0;
};

class Ring {
 public:
  std::shared_ptr<Device> device;
  Queue* queue = nullptr;
  uint8_t* requests = nullptr;
  uint8_t* replies = nullptr;
  int32_t* state = nullptr;
  std::vector<Slot> slots;
  RingStats stats;
  bool attached = false;
  int wake = -1;  // the eventfd that this thread polls: the queue's kick, or one of its own

  // Takes the queue; it must not be attached. 0, -EINVAL, -EFAULT, -EBUSY, -ENODEV.
  int attach(std::shared_ptr<Device> device, uint32_t index, uint32_t slotCount);
  // Gives the queue back; its next avail index.
  uint16_t detach();
  int pop(int32_t* popped, uint32_t max, uint64_t spinNs);
  int flush(const int32_t* done, uint32_t count, bool tell);
  int arm();
  // The slot of a request in flight that may be answered, or null.
  Slot* slot(uint32_t index) {
    return attached && index < slots.size() && slots[index].used && !slots[index].busy ? &slots[index] : nullptr;
  }
  // What stopped the ring for good, as -errno; 0 while it works.
  int failure() const { return device->dead.load(std::memory_order_relaxed) ? -ENODEV : failure_; }
  // A read or write outside pop, flush and arm found guest memory gone.
  int vanished() {
    std::lock_guard guard(queue->lock);
    return fail(-EFAULT);
  }

 private:
  int fail(int error);
  enum class Outcome { ok, malformed, corrupt };
  int start(uint32_t slotCount);
  int startIndices();
  uint16_t loadAvail() const { return __atomic_load_n(&queue->memory.avail[1], __ATOMIC_ACQUIRE); }
  bool spin(uint64_t spinNs, uint16_t* avail);
  bool nextHead(uint16_t avail, uint16_t* head, bool* resubmitted);
  int popOne(uint16_t head, bool resubmitted, int32_t* popped);
  Outcome readChain(uint16_t head, struct Walk* walk);
  bool readIndirect(const Desc& outer, struct Walk* walk);
  void fillState(uint32_t index, const struct Walk& walk);
  void pushUsed(uint16_t head, uint32_t length);  // inside guarded()
  bool publish();
  void notify();
  void release(uint32_t index);

  uint32_t num_ = 0;
  uint16_t lastAvail_ = 0, used_ = 0, signalled_ = 0;
  bool signalledValid_ = false, eventIdx_ = false, indirect_ = false, muted_ = false, starved_ = false, untold_ = false;
  int failure_ = 0;
  uint32_t hint_ = 0;
  std::vector<uint8_t> taken_;  // per head: given out and not yet returned
  std::vector<uint32_t> free_;
  std::vector<uint16_t> resubmit_;  // descending: the next one is the last
  std::unique_ptr<iovec[]> parts_;
  std::unique_ptr<Desc[]> table_;
  std::unique_ptr<uint16_t[]> batch_;  // heads pushed since the last publish
  uint32_t batched_ = 0;
  InflightLog log_;
};

// Copies `length` bytes behind the first `skip` bytes of the parts; inside guarded(). The caller checked the sizes.
void scatter(const iovec* parts, uint64_t skip, const uint8_t* bytes, uint64_t length);

}  // namespace nydus
