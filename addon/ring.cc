#include "ring.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "chain.h"
#include "fault.h"

namespace nydus {

namespace {
constexpr uint64_t kSpinMaxNs = 1'000'000;  // the control thread waits for the lock meanwhile
constexpr uint16_t kNoInterrupt = 1, kNoNotify = 1;

uint64_t nowNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1'000'000'000 + uint64_t(t.tv_nsec);
}

void signalFd(int fd) {
  const uint64_t one = 1;
  if (fd >= 0) (void)!write(fd, &one, sizeof(one));
}
}  // namespace

int Ring::attach(std::shared_ptr<Device> target, uint32_t index, uint32_t slotCount) {
  device = std::move(target);
  queue = &device->queues[index];
  std::scoped_lock guard(device->lock, queue->lock);
  if (device->dead.load()) return -ENODEV;
  if (queue->attached) return -EBUSY;
  RingMemory memory;
  if (int error = queue->translate(device->map, &memory)) return error;
  num_ = queue->num;
  const Inflight& inflight = device->inflight;
  if (inflight.mapping && index < inflight.queues) {
    if (num_ > inflight.queueSize) return -EINVAL;
    uint8_t* at = inflight.mapping->data() + index * inflight.stride();
    log_.mapping = inflight.mapping;
    log_.header = reinterpret_cast<InflightLog::Header*>(at);
    log_.entries = reinterpret_cast<InflightLog::Entry*>(at + sizeof(InflightLog::Header));
  }
  queue->memory = memory;
  queue->map = queue->ringMap = device->map;
  const int error = start(slotCount);
  if (error != 0) {
    queue->map = queue->ringMap = nullptr;
    return error;
  }
  queue->attached = attached = true;
  // A kick may have come before anybody polled.
  signalFd(wake);
  return 0;
}

int Ring::start(uint32_t slotCount) {
  const uint64_t features = device->features.load();
  eventIdx_ = (features & kFeatureEventIdx) != 0;
  indirect_ = (features & kFeatureIndirect) != 0;
  taken_.assign(num_, 0);
  if (int error = startIndices()) return error;
  wake = queue->kick >= 0 ? queue->kick : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return -errno;
  parts_ = std::make_unique_for_overwrite<iovec[]>(size_t(slotCount) * kPartsMax);
  table_ = std::make_unique_for_overwrite<Desc[]>(kIndirectMax);
  batch_ = std::make_unique_for_overwrite<uint16_t[]>(num_);
  slots = std::vector<Slot>(slotCount);
  for (uint32_t i = 0; i < slotCount; i++) {
    slots[i].iov = parts_.get() + size_t(i) * kPartsMax;
    free_.push_back(slotCount - 1 - i);
  }
  return 0;
}

// Where to go on: the used index stands in the ring, the avail index with the front-end or in the in-flight log.
int Ring::startIndices() {
  const bool ok = guarded([&] {
    auto* used = reinterpret_cast<uint16_t*>(queue->memory.used);
    used_ = __atomic_load_n(used + 1, __ATOMIC_RELAXED);
    __atomic_store_n(used, 0, __ATOMIC_RELAXED);
  });
  if (!ok) return -EFAULT;
  lastAvail_ = queue->base;
  if (!log_) return 0;
  bool known = false;
  if (!log_.recover(num_, used_, &known, &resubmit_)) return -EFAULT;
  if (known) lastAvail_ = static_cast<uint16_t>(used_ + resubmit_.size());
  return 0;
}

uint16_t Ring::detach() {
  std::lock_guard guard(queue->lock);
  queue->base = lastAvail_;
  queue->attached = attached = false;
  queue->map = queue->ringMap = nullptr;
  if (wake >= 0 && wake != queue->kick) close(wake);
  wake = -1;
  for (uint32_t i = 0; i < slots.size(); i++) {
    if (slots[i].used) release(i);
  }
  return lastAvail_;
}

int Ring::fail(int error) {
  if (failure_ == 0) {
    failure_ = error;
    signalFd(queue->err);
  }
  return failure_;
}

void Ring::release(uint32_t index) {
  Slot& slot = slots[index];
  slot.used = slot.busy = false;
  slot.hold = MemoryHold();
  state[index * kStateWords + kTicket]++;
  free_.push_back(index);
}

// Waits for the avail index to move. False when the ring's memory is gone.
bool Ring::spin(uint64_t spinNs, uint16_t* avail) {
  return guarded([&] {
    *avail = loadAvail();
    if (*avail != lastAvail_ || spinNs == 0) return;
    const uint64_t until = nowNs() + std::min(spinNs, kSpinMaxNs);
    do {
      for (int i = 0; i < 16; i++) {
        *avail = loadAvail();
        if (*avail != lastAvail_) return;
        __builtin_ia32_pause();
      }
    } while (nowNs() < until);
  });
}

int Ring::pop(int32_t* popped, uint32_t max, uint64_t spinNs) {
  std::lock_guard guard(queue->lock);
  if (int error = failure()) return error;
  uint16_t avail = lastAvail_;
  if (!spin(resubmit_.empty() ? spinNs : 0, &avail)) return fail(-EFAULT);
  if (static_cast<uint16_t>(avail - lastAvail_) > num_) return fail(-EPROTO);
  uint32_t count = 0;
  uint16_t head = 0;
  bool resubmitted = false;
  // Malformed chains go back at once. Those of the in-flight log and of the avail ring together can be more than the
  // used ring holds: the others wait for the next call.
  while (count < max && !free_.empty() && batched_ < num_) {
    if (!nextHead(avail, &head, &resubmitted)) break;
    if (failure_ != 0) return failure_;
    const int taken = popOne(head, resubmitted, popped + count);
    if (taken < 0) return fail(taken);
    count += taken;
  }
  if (batched_ > 0) {
    if (!publish()) return fail(-EFAULT);
    notify();
  }
  starved_ = free_.empty();
  stats.popped += count;
  return static_cast<int>(count);
}

// The next head to serve, checked; false when there is none. Marks the ring failed when it is corrupt.
bool Ring::nextHead(uint16_t avail, uint16_t* head, bool* resubmitted) {
  *resubmitted = !resubmit_.empty();
  if (*resubmitted) {
    *head = resubmit_.back();
    resubmit_.pop_back();
  } else {
    if (lastAvail_ == avail) return false;
    const bool ok = guarded([&] {
      *head = __atomic_load_n(&queue->memory.avail[2 + (lastAvail_ & (num_ - 1))], __ATOMIC_RELAXED);
      if (!eventIdx_ && !muted_) {
        __atomic_store_n(reinterpret_cast<uint16_t*>(queue->memory.used), kNoNotify, __ATOMIC_RELAXED);
        muted_ = true;
      }
    });
    if (!ok) {
      fail(-EFAULT);
      return true;
    }
    lastAvail_++;
  }
  if (*head >= num_ || taken_[*head] != 0) fail(-EPROTO);
  return true;
}

// 1 when a slot was filled, 0 when the chain was malformed, -EFAULT.
int Ring::popOne(uint16_t head, bool resubmitted, int32_t* popped) {
  const uint32_t index = free_.back();
  Slot& slot = slots[index];
  Walk walk = {queue->map.get(), &hint_, requests + size_t(index) * kRequestBytes, slot.iov};
  Outcome outcome = Outcome::malformed;
  taken_[head] = 1;
  const bool ok = guarded([&] {
    if (log_ && !resubmitted) log_.take(head);
    outcome = readChain(head, &walk);
    if (outcome != Outcome::ok) pushUsed(head, 0);
  });
  if (!ok) return -EFAULT;
  if (outcome != Outcome::ok) {
    taken_[head] = 0;
    stats.malformed++;
    return 0;
  }
  free_.pop_back();
  slot.head = head;
  slot.used = true;
  slot.parts = walk.parts;
  slot.writable = walk.writable;
  slot.hold = MemoryHold(queue->map);
  fillState(index, walk);
  *popped = static_cast<int32_t>(index);
  return 1;
}

void Ring::fillState(uint32_t index, const Walk& walk) {
  const auto capped = [](uint64_t n) { return static_cast<int32_t>(n > INT32_MAX ? INT32_MAX : n); };
  int32_t* row = state + size_t(index) * kStateWords;
  row[kReadable] = capped(walk.readable);
  row[kCopied] = static_cast<int32_t>(walk.copied);
  row[kWritable] = capped(walk.writable);
  row[kInline] = 0;
  row[kTotal] = 0;
  row[kTicket]++;
}

void Ring::pushUsed(uint16_t head, uint32_t length) {
  auto* element = reinterpret_cast<uint32_t*>(queue->memory.used + 4 + 8 * size_t(used_ & (num_ - 1)));
  __atomic_store_n(element, head, __ATOMIC_RELAXED);
  __atomic_store_n(element + 1, length, __ATOMIC_RELAXED);
  if (log_) log_.put(head);
  used_++;
  batch_[batched_++] = head;
}

bool Ring::publish() {
  const bool ok = guarded([&] {
    __atomic_store_n(reinterpret_cast<uint16_t*>(queue->memory.used) + 1, used_, __ATOMIC_RELEASE);
    if (log_) log_.settle(batch_.get(), batched_, used_);
  });
  batched_ = 0;
  return ok;
}

// After publish(): whether the guest wants an interrupt may only be read once it can see the used index.
void Ring::notify() {
  bool needed = false;
  const bool ok = guarded([&] {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    const uint16_t* avail = queue->memory.avail;
    if (eventIdx_) {
      const uint16_t event = __atomic_load_n(&avail[2 + num_], __ATOMIC_RELAXED);
      needed = static_cast<uint16_t>(used_ - event - 1) < static_cast<uint16_t>(used_ - signalled_);
    } else {
      needed = (__atomic_load_n(&avail[0], __ATOMIC_RELAXED) & kNoInterrupt) == 0;
    }
  });
  if (!ok) return;
  // The first one after a start: nobody knows what the guest saw of those before.
  if (!signalledValid_) needed = true;
  signalledValid_ = true;
  signalled_ = used_;
  if (!needed) return;
  stats.notified++;
  signalFd(queue->call);
}

int Ring::flush(const int32_t* done, uint32_t count, bool tell) {
  for (uint32_t i = 0; i < count; i++) {
    if (slot(static_cast<uint32_t>(done[i])) == nullptr) return -EINVAL;
  }
  std::lock_guard guard(queue->lock);
  if (int error = failure()) return error;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t index = static_cast<uint32_t>(done[i]);
    Slot& slot = slots[index];
    if (!slot.used) continue;  // named twice
    const int32_t* row = state + size_t(index) * kStateWords;
    const uint64_t total = std::min<uint64_t>(row[kTotal] < 0 ? 0 : row[kTotal], slot.writable);
    const uint64_t head = std::min<uint64_t>({uint64_t(row[kInline] < 0 ? 0 : row[kInline]), kReplyBytes, total});
    const bool ok = guarded([&] {
      scatter(slot.iov, 0, replies + size_t(index) * kReplyBytes, head);
      pushUsed(slot.head, static_cast<uint32_t>(total));
    });
    if (!ok) return fail(-EFAULT);
    taken_[slot.head] = 0;
    release(index);
  }
  stats.completed += count;
  if (batched_ > 0) {
    if (!publish()) return fail(-EFAULT);
    untold_ = true;
  }
  if (!tell || !untold_) return 0;
  untold_ = false;
  notify();
  // Requests waited for a slot, and the guest will not kick for them again.
  if (starved_ && !free_.empty()) {
    starved_ = false;
    signalFd(wake);
  }
  return 0;
}

int Ring::arm() {
  std::lock_guard guard(queue->lock);
  if (int error = failure()) return error;
  uint16_t avail = lastAvail_;
  const bool ok = guarded([&] {
    if (eventIdx_) {
      auto* event = reinterpret_cast<uint16_t*>(queue->memory.used + 4 + 8 * size_t(num_));
      __atomic_store_n(event, lastAvail_, __ATOMIC_RELAXED);
    } else {
      __atomic_store_n(reinterpret_cast<uint16_t*>(queue->memory.used), 0, __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    avail = loadAvail();
  });
  muted_ = false;
  if (!ok) return fail(-EFAULT);
  if (avail == lastAvail_ && resubmit_.empty()) return 0;
  // Without a free slot there is nothing to do about it: the flush that frees one wakes this thread.
  starved_ = free_.empty();
  return starved_ ? 0 : 1;
}

}  // namespace nydus
