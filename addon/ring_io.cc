// Replies larger than a slot: bytes and files into a request's writable part.
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>

#include "fault.h"
#include "own_fd.h"
#include "pool_work.h"
#include "ring_server.h"

namespace nydus {
namespace {

// The parts that hold [skip, skip+length) of a request's writable bytes, cut in place; the ends are restored when it
// goes.
class Window {
 public:
  // `skip`+`length` must lie within the slot and `length` be above 0.
  Window(Slot& slot, uint64_t skip, uint64_t length) {
    first_ = slot.iov;
    while (skip >= first_->iov_len) skip -= (first_++)->iov_len;
    last_ = first_;
    uint64_t end = skip + length;
    while (end > last_->iov_len) end -= (last_++)->iov_len;
    firstWas_ = *first_;
    lastWas_ = *last_;
    last_->iov_len = end;
    first_->iov_base = static_cast<uint8_t*>(first_->iov_base) + skip;
    first_->iov_len -= skip;
  }
  ~Window() {
    *last_ = lastWas_;
    *first_ = firstWas_;
  }
  iovec* parts() const { return first_; }
  int count() const { return static_cast<int>(last_ - first_) + 1; }

 private:
  iovec *first_, *last_;
  iovec firstWas_, lastWas_;
};

int64_t readPlain(int fd, const iovec* parts, int count, int64_t offset) {
  ssize_t n;
  do {
    n = preadv(fd, parts, count, offset);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

int64_t readNow(RingServer& server, int fd, const iovec* parts, int count, int64_t offset) {
  const bool remembered = fd < 1024;
  uint64_t& word = server.plainFds[remembered ? fd / 64 : 0];
  const uint64_t bit = 1ull << (fd % 64);
  if (remembered && (word & bit) != 0) return readPlain(fd, parts, count, offset);
  // Without libc's cancellation points, which are 2 % of a small read.
  const ssize_t n = syscall(SYS_preadv2, fd, parts, count, offset, 0, RWF_NOWAIT);
  if (n >= 0) return n;
  if (errno != EOPNOTSUPP) return -errno;
  if (remembered) word |= bit;
  return readPlain(fd, parts, count, offset);
}

// The arguments that the three functions share.
struct Target {
  const std::shared_ptr<RingServer>* server = nullptr;
  Slot* slot = nullptr;
  uint32_t index = 0;
  int64_t skip = 0;
  int error = 0;
};

Target target(const Args& args) {
  Target t;
  t.server = findRing(args.instance(), args.u32(0));
  if (t.server == nullptr) {
    t.error = -EBADF;
    return t;
  }
  Ring& ring = (*t.server)->ring;
  t.index = args.u32(1);
  t.slot = ring.slot(t.index);
  t.skip = args.size(2);
  if (ring.failure() != 0) {
    t.error = ring.failure();
  } else if (t.slot == nullptr || t.skip < 0 || static_cast<uint64_t>(t.skip) > t.slot->writable) {
    t.error = -EINVAL;
  }
  return t;
}

// `length` cut to what the slot has room for.
uint64_t fit(const Target& t, int64_t length) {
  return std::min<uint64_t>(static_cast<uint64_t>(length), t.slot->writable - static_cast<uint64_t>(t.skip));
}

napi_value RingWrite(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.error != 0) return number(env, t.error);
  Bytes bytes(env, args[3]);
  const int64_t offset = args.size(4), length = args.size(5);
  if (offset < 0 || length < 0 || static_cast<uint64_t>(offset) > bytes.length) return number(env, -EINVAL);
  if (static_cast<uint64_t>(length) > bytes.length - offset) return number(env, -EINVAL);
  const uint64_t n = fit(t, length);
  if (!guarded([&] { scatter(t.slot->iov, t.skip, bytes.data + offset, n); })) {
    return number(env, (*t.server)->ring.vanished());
  }
  return number(env, static_cast<int64_t>(n));
}

napi_value RingRead(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.error != 0) return number(env, t.error);
  const int fd = args.i32(3);
  const int64_t offset = args.size(4), length = args.size(5);
  if (fd < 0) return number(env, -EBADF);
  if (offset < 0 || length < 0) return number(env, -EINVAL);
  const uint64_t n = fit(t, length);
  if (n == 0) return number(env, 0);
  Window window(*t.slot, t.skip, n);
  const int64_t result = readNow(**t.server, fd, window.parts(), window.count(), offset);
  return number(env, result == -EFAULT ? (*t.server)->ring.vanished() : result);
}

// A read on a pool thread. It owns what it needs: the ring may be detached and its memory replaced meanwhile.
struct SlotRead : PoolTask {
  explicit SlotRead(int fd) : file(fd) {}

  const OwnFd file;
  std::shared_ptr<RingServer> server;
  uint32_t index = 0;
  int32_t ticket = 0;
  MemoryHold hold;
  std::vector<iovec> parts;
  int64_t offset = 0;

  int64_t execute() {
    if (parts.empty()) return 0;
    return readPlain(file.get(), parts.data(), static_cast<int>(parts.size()), offset);
  }

  bool finish(int64_t result) {
    Ring& ring = server->ring;
    // After a detach the slot's memory is not ours any more, and nobody waits.
    if (!ring.attached || ring.state[size_t(index) * kStateWords + kTicket] != ticket) return false;
    ring.slots[index].busy = false;
    hold = MemoryHold();
    if (result == -EFAULT) ring.vanished();
    return true;
  }
};

napi_value RingReadBlocking(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.error != 0) return number(env, t.error);
  const int64_t offset = args.size(4), length = args.size(5);
  if (offset < 0 || length < 0) return number(env, -EINVAL);
  auto read = std::make_unique<SlotRead>(args.i32(3));
  if (read->file.error() != 0) return number(env, read->file.error());
  const uint64_t n = fit(t, length);
  if (n > 0) {
    Window window(*t.slot, t.skip, n);
    read->parts.assign(window.parts(), window.parts() + window.count());
  }
  read->server = *t.server;
  read->index = t.index;
  read->ticket = (*t.server)->ring.state[size_t(t.index) * kStateWords + kTicket];
  read->hold = t.slot->hold;
  read->offset = offset;
  const int started = PoolWork<SlotRead>::start(env, args.instance(), "read", std::move(read), args[6], {});
  if (started == 0) t.slot->busy = true;
  return number(env, started);
}

}  // namespace

void defineRingIo(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "ringWrite", RingWrite);
  define(env, exports, instance, "ringRead", RingRead);
  define(env, exports, instance, "ringReadBlocking", RingReadBlocking);
}

}  // namespace nydus
