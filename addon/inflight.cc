// The in-flight log: which heads were taken and not returned, for a back-end that starts again.
#include <algorithm>

#include "fault.h"
#include "ring.h"

namespace nydus {

namespace {
struct Found {
  uint64_t counter;
  uint16_t head;
};
}  // namespace

bool InflightLog::recover(uint32_t num, uint16_t ringUsed, bool* known, std::vector<uint16_t>* heads) {
  std::vector<Found> found(num);
  uint32_t count = 0;
  bool inUse = false;
  const bool ok = guarded([&] {
    const uint16_t version = __atomic_load_n(&header->version, __ATOMIC_RELAXED);
    const uint16_t pending = static_cast<uint16_t>(ringUsed - __atomic_load_n(&header->usedIdx, __ATOMIC_RELAXED));
    // More than a ring's worth between log and ring: the log tells of a ring from before a reset.
    inUse = version == 1 && pending <= num;
    if (!inUse) {
      for (uint32_t i = 0; i < num; i++) entries[i] = {};
      header->features = 0;
      header->descNum = static_cast<uint16_t>(num);
      header->lastBatchHead = 0;
      header->usedIdx = ringUsed;
      __atomic_store_n(&header->version, 1, __ATOMIC_RELEASE);
      return;
    }
    // The last batch was published but not cleared.
    uint16_t head = __atomic_load_n(&header->lastBatchHead, __ATOMIC_RELAXED);
    for (uint16_t i = 0; i < pending && head < num; i++) {
      entries[head].inflight = 0;
      head = __atomic_load_n(&entries[head].next, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&header->usedIdx, ringUsed, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < num; i++) {
      if (__atomic_load_n(&entries[i].inflight, __ATOMIC_RELAXED) != 1) continue;
      found[count++] = {__atomic_load_n(&entries[i].counter, __ATOMIC_RELAXED), static_cast<uint16_t>(i)};
    }
  });
  if (!ok) return false;
  // Descending, as they are taken from the end.
  std::sort(found.begin(), found.begin() + count, [](const Found& a, const Found& b) { return a.counter > b.counter; });
  counter = count > 0 ? found[0].counter : 0;
  heads->clear();
  for (uint32_t i = 0; i < count; i++) heads->push_back(found[i].head);
  *known = inUse;
  return true;
}

void InflightLog::take(uint16_t head) {
  entries[head].counter = ++counter;
  __atomic_store_n(&entries[head].inflight, 1, __ATOMIC_RELEASE);
}

void InflightLog::put(uint16_t head) {
  entries[head].next = header->lastBatchHead;
  __atomic_store_n(&header->lastBatchHead, head, __ATOMIC_RELEASE);
}

void InflightLog::settle(const uint16_t* heads, uint32_t count, uint16_t usedIdx) {
  for (uint32_t i = 0; i < count; i++) __atomic_store_n(&entries[heads[i]].inflight, 0, __ATOMIC_RELEASE);
  __atomic_store_n(&header->usedIdx, usedIdx, __ATOMIC_RELEASE);
}

}  // namespace nydus
