// The control thread's side of devices: memory tables and the configuration of rings.
#include "device.h"

#include <fcntl.h>
#include <unistd.h>

#include <unordered_map>

#include "common.h"

namespace nydus {

namespace {
constexpr uint32_t kQueuesMax = 1024;
std::mutex tableLock;
int32_t nextDevice = 1;
std::unordered_map<int32_t, std::shared_ptr<Device>>& table() {
  static auto* devices = new std::unordered_map<int32_t, std::shared_ptr<Device>>;
  return *devices;
}

void replaceFd(int* slot, int fd) {
  if (*slot >= 0) close(*slot);
  *slot = fd;
}
}  // namespace

std::shared_ptr<Device> findDevice(int32_t id) {
  std::lock_guard guard(tableLock);
  auto found = table().find(id);
  return found == table().end() ? nullptr : found->second;
}

Queue::~Queue() {
  replaceFd(&kick, -1);
  replaceFd(&call, -1);
  replaceFd(&err, -1);
}

int Queue::translate(const MemoryRef& map, RingMemory* out) const {
  if (num == 0 || !hasAddr) return -EINVAL;
  if (!map) return -EFAULT;
  uint8_t* desc = map->fromUser(descUva, 16ull * num);
  uint8_t* avail = map->fromUser(availUva, 6 + 2ull * num);
  uint8_t* used = map->fromUser(usedUva, 6 + 8ull * num);
  if (desc == nullptr || avail == nullptr || used == nullptr) return -EFAULT;
  const auto aligned = [](const void* p, uintptr_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; };
  if (!aligned(desc, 16) || !aligned(avail, 2) || !aligned(used, 4)) return -EINVAL;
  out->desc = reinterpret_cast<const Desc*>(desc);
  out->avail = reinterpret_cast<uint16_t*>(avail);
  out->used = used;
  return 0;
}

void Device::replaceMemory(MemoryRef next) {
  if (map) older.push_back(map);
  std::erase_if(older, [](const auto& weak) { return weak.expired(); });
  map = std::move(next);
  for (Queue& queue : queues) {
    std::lock_guard guard(queue.lock);
    if (!queue.attached) continue;
    queue.map = map;
    RingMemory memory;
    // A front-end that changes memory by removing and adding leaves a gap in which a running ring is nowhere:
    // its pages stay mapped, and the next table finds it again.
    if (queue.translate(map, &memory) == 0) {
      queue.memory = memory;
      queue.ringMap = map;
    }
  }
}

namespace {

struct Target {
  std::shared_ptr<Device> device;
  Queue* queue = nullptr;
};

// The device and queue of arguments 0 and 1.
Target target(const Args& args) {
  Target t;
  t.device = findDevice(args.i32(0));
  const uint32_t index = args.u32(1);
  if (t.device && index < t.device->queues.size()) t.queue = &t.device->queues[index];
  return t;
}

napi_value DeviceCreate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const uint32_t queues = args.u32(0);
  if (queues == 0 || queues > kQueuesMax) return number(env, -EINVAL);
  auto device = std::make_shared<Device>(queues);
  std::lock_guard guard(tableLock);
  const int32_t id = nextDevice++;
  table()[id] = std::move(device);
  return number(env, id);
}

napi_value DeviceDestroy(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  {
    std::lock_guard guard(tableLock);
    table().erase(args.i32(0));
  }
  device->dead.store(true);
  std::lock_guard guard(device->lock);
  device->map = nullptr;
  device->inflight = {};
  return number(env, 0);
}

napi_value DeviceSetFeatures(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  device->features.store(uint64_t(args.u32(2)) << 32 | args.u32(1));
  return number(env, 0);
}

int mapRegion(const uint64_t* words, int fd, Region* out) {
  out->spec = {words[0], words[1], words[2], words[3]};
  if (int error = Mapping::create(fd, out->spec.offset, out->spec.size, &out->mapping)) return error;
  out->host = out->mapping->data();
  return 0;
}

struct Words : Span<uint64_t> {
  Words(napi_env env, napi_value v) : Span(env, v, napi_biguint64_array) {}
};

napi_value MemorySet(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  Words words(env, args[1]);
  Ints fds(env, args[2]);
  if (words.length % 4 != 0 || words.length / 4 != fds.length) return number(env, -EINVAL);
  std::vector<Region> regions(fds.length);
  for (size_t i = 0; i < fds.length; i++) {
    if (int error = mapRegion(words.data + 4 * i, fds.data[i], &regions[i])) return number(env, error);
  }
  MemoryRef map;
  if (int error = MemoryMap::create(std::move(regions), &map)) return number(env, error);
  std::lock_guard guard(device->lock);
  device->replaceMemory(std::move(map));
  return number(env, 0);
}

napi_value MemoryAdd(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  Words words(env, args[1]);
  if (words.length != 4) return number(env, -EINVAL);
  std::lock_guard guard(device->lock);
  std::vector<Region> regions;
  if (device->map) regions = device->map->regions();
  Region added;
  if (int error = mapRegion(words.data, args.i32(2), &added)) return number(env, error);
  regions.push_back(std::move(added));
  MemoryRef map;
  if (int error = MemoryMap::create(std::move(regions), &map)) return number(env, error);
  device->replaceMemory(std::move(map));
  return number(env, 0);
}

napi_value MemoryRemove(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  Words words(env, args[1]);
  if (words.length != 4) return number(env, -EINVAL);
  const RegionSpec spec = {words.data[0], words.data[1], words.data[2], words.data[3]};
  std::lock_guard guard(device->lock);
  std::vector<Region> regions;
  if (device->map) regions = device->map->regions();
  if (std::erase_if(regions, [&](const Region& r) { return r.spec == spec; }) == 0) return number(env, -ENOENT);
  MemoryRef map;
  if (int error = MemoryMap::create(std::move(regions), &map)) return number(env, error);
  device->replaceMemory(std::move(map));
  return number(env, 0);
}

napi_value MemoryStale(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  int64_t stale = 0;
  std::lock_guard guard(device->lock);
  for (const auto& weak : device->older) {
    if (MemoryRef map = weak.lock()) stale += map->users.load();
  }
  return number(env, stale);
}

napi_value RingSetNum(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.queue == nullptr) return number(env, -ENODEV);
  const uint32_t num = args.u32(2);
  if (num == 0 || num > kQueueSizeMax || (num & (num - 1)) != 0) return number(env, -EINVAL);
  std::lock_guard guard(t.queue->lock);
  if (t.queue->attached) return number(env, -EBUSY);
  t.queue->num = num;
  return number(env, 0);
}

napi_value RingSetAddr(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.queue == nullptr) return number(env, -ENODEV);
  uint64_t desc, used, avail;
  if (!args.u64(2, &desc) || !args.u64(3, &used) || !args.u64(4, &avail)) return number(env, -EINVAL);
  if (desc % 16 != 0 || used % 4 != 0 || avail % 2 != 0) return number(env, -EINVAL);
  std::scoped_lock guard(t.device->lock, t.queue->lock);
  Queue& queue = *t.queue;
  const uint64_t old[3] = {queue.descUva, queue.usedUva, queue.availUva};
  const bool had = queue.hasAddr;
  queue.descUva = desc;
  queue.usedUva = used;
  queue.availUva = avail;
  queue.hasAddr = true;
  if (!queue.attached) return number(env, 0);
  RingMemory memory;
  if (int error = queue.translate(t.device->map, &memory)) {
    queue.descUva = old[0];
    queue.usedUva = old[1];
    queue.availUva = old[2];
    queue.hasAddr = had;
    return number(env, error);
  }
  queue.memory = memory;
  queue.ringMap = t.device->map;
  return number(env, 0);
}

napi_value RingSetBase(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.queue == nullptr) return number(env, -ENODEV);
  const uint32_t base = args.u32(2);
  if (base > UINT16_MAX) return number(env, -EINVAL);
  std::lock_guard guard(t.queue->lock);
  if (t.queue->attached) return number(env, -EBUSY);
  t.queue->base = static_cast<uint16_t>(base);
  return number(env, 0);
}

// A blocking descriptor in place of an eventfd must not stop the thread that serves the ring.
bool setNonBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && ((flags & O_NONBLOCK) != 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

napi_value setFd(const Args& args, int Queue::*member, bool whileAttached, bool signal) {
  Target t = target(args);
  if (t.queue == nullptr) return number(args.env(), -ENODEV);
  const int fd = args.i32(2);
  if (fd >= 0 && !setNonBlocking(fd)) return systemResult(args.env(), -1);
  std::lock_guard guard(t.queue->lock);
  if (t.queue->attached && !whileAttached) return number(args.env(), -EBUSY);
  replaceFd(&(t.queue->*member), fd < 0 ? -1 : fd);
  // What was signalled on the old descriptor may have been lost with it.
  if (signal && t.queue->attached && fd >= 0) {
    const uint64_t one = 1;
    (void)!write(fd, &one, sizeof(one));
  }
  return number(args.env(), 0);
}

napi_value RingSetKick(napi_env env, napi_callback_info info) {
  return setFd(Args(env, info), &Queue::kick, false, false);
}
napi_value RingSetCall(napi_env env, napi_callback_info info) { return setFd(Args(env, info), &Queue::call, true, true); }
napi_value RingSetErr(napi_env env, napi_callback_info info) { return setFd(Args(env, info), &Queue::err, true, false); }

napi_value RingBase(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.queue == nullptr) return number(env, -ENODEV);
  std::lock_guard guard(t.queue->lock);
  return number(env, t.queue->base);
}

napi_value RingReset(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.queue == nullptr) return number(env, -ENODEV);
  Queue& queue = *t.queue;
  std::lock_guard guard(queue.lock);
  if (queue.attached) return number(env, -EBUSY);
  queue.num = 0;
  queue.base = 0;
  queue.descUva = queue.usedUva = queue.availUva = 0;
  queue.hasAddr = false;
  replaceFd(&queue.kick, -1);
  replaceFd(&queue.call, -1);
  replaceFd(&queue.err, -1);
  return number(env, 0);
}

napi_value InflightSet(napi_env env, napi_callback_info info) {
  Args args(env, info);
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  if (!device) return number(env, -ENODEV);
  const int64_t offset = args.size(2), size = args.size(3);
  Inflight next;
  next.queues = args.u32(4);
  next.queueSize = args.u32(5);
  if (offset < 0 || size <= 0 || next.queues == 0 || next.queues > device->queues.size()) return number(env, -EINVAL);
  if (next.queueSize == 0 || next.queueSize > kQueueSizeMax) return number(env, -EINVAL);
  // A region that ends right after its last descriptor, without the padding, is enough.
  const uint64_t needed = next.stride() * (next.queues - 1) + 16 + 16ull * next.queueSize;
  if (static_cast<uint64_t>(size) < needed || offset % 8 != 0) return number(env, -EINVAL);
  if (int error = Mapping::create(args.i32(1), offset, size, &next.mapping)) return number(env, error);
  std::lock_guard guard(device->lock);
  device->inflight = std::move(next);
  return number(env, 0);
}

}  // namespace

void defineDevices(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "deviceCreate", DeviceCreate);
  define(env, exports, instance, "deviceDestroy", DeviceDestroy);
  define(env, exports, instance, "deviceSetFeatures", DeviceSetFeatures);
  define(env, exports, instance, "memorySet", MemorySet);
  define(env, exports, instance, "memoryAdd", MemoryAdd);
  define(env, exports, instance, "memoryRemove", MemoryRemove);
  define(env, exports, instance, "memoryStale", MemoryStale);
  define(env, exports, instance, "ringSetNum", RingSetNum);
  define(env, exports, instance, "ringSetAddr", RingSetAddr);
  define(env, exports, instance, "ringSetBase", RingSetBase);
  define(env, exports, instance, "ringSetKick", RingSetKick);
  define(env, exports, instance, "ringSetCall", RingSetCall);
  define(env, exports, instance, "ringSetErr", RingSetErr);
  define(env, exports, instance, "ringBase", RingBase);
  define(env, exports, instance, "ringReset", RingReset);
  define(env, exports, instance, "inflightSet", InflightSet);
}

}  // namespace nydus
