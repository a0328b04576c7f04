// Replies larger than a slot: bytes and files into a request's writable part.
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "fault.h"
#include "ring_server.h"

namespace nydus {
namespace {

// The parts that hold [skip, skip+length) of a request's writable bytes, cut in place; the ends are restored when it goes.
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
struct AsyncRead {
  std::shared_ptr<RingServer> server;
  Instance* instance = nullptr;
  uint32_t index = 0;
  int32_t ticket = 0;
  MemoryHold hold;
  std::vector<iovec> parts;
  int fd = -1;
  int64_t offset = 0, result = 0;
  napi_ref done = nullptr;
  napi_async_work work = nullptr;
  ~AsyncRead() {
    if (fd >= 0) close(fd);
  }
};

void onReadDone(napi_env env, napi_status status, void* data) {
  std::unique_ptr<AsyncRead> read(static_cast<AsyncRead*>(data));
  napi_delete_async_work(env, read->work);
  Ring& ring = read->server->ring;
  // After a detach the slot's memory is not ours any more, and nobody waits.
  if (ring.attached && ring.state[size_t(read->index) * kStateWords + kTicket] == read->ticket) {
    ring.slots[read->index].busy = false;
    read->hold = MemoryHold();
    if (read->result == -EFAULT) ring.vanished();
    callJs(env, read->done, true, status == napi_ok ? read->result : -ECANCELED);
  }
  napi_delete_reference(env, read->done);
}

napi_value RingReadBlocking(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Target t = target(args);
  if (t.error != 0) return number(env, t.error);
  const int64_t offset = args.size(4), length = args.size(5);
  if (offset < 0 || length < 0) return number(env, -EINVAL);
  auto read = std::make_unique<AsyncRead>();
  // Of our own: the caller may close its descriptor, and the number become another file.
  read->fd = fcntl(args.i32(3), F_DUPFD_CLOEXEC, 3);
  if (read->fd < 0) return systemResult(env, -1);
  const uint64_t n = fit(t, length);
  if (n > 0) {
    Window window(*t.slot, t.skip, n);
    read->parts.assign(window.parts(), window.parts() + window.count());
  }
  read->server = *t.server;
  read->instance = &args.instance();
  read->index = t.index;
  read->ticket = (*t.server)->ring.state[size_t(t.index) * kStateWords + kTicket];
  read->hold = t.slot->hold;
  read->offset = offset;
  napi_value name;
  napi_create_string_utf8(env, "ringReadBlocking", NAPI_AUTO_LENGTH, &name);
  const auto execute = [](napi_env, void* data) {
    auto& r = *static_cast<AsyncRead*>(data);
    if (!r.parts.empty()) r.result = readPlain(r.fd, r.parts.data(), static_cast<int>(r.parts.size()), r.offset);
  };
  if (napi_create_reference(env, args[6], 1, &read->done) != napi_ok) return number(env, -EINVAL);
  if (napi_create_async_work(env, nullptr, name, execute, onReadDone, read.get(), &read->work) != napi_ok) {
    napi_delete_reference(env, read->done);
    return number(env, -ENOMEM);
  }
  if (napi_queue_async_work(env, read->work) != napi_ok) {
    napi_delete_async_work(env, read->work);
    napi_delete_reference(env, read->done);
    return number(env, -EAGAIN);
  }
  t.slot->busy = true;
  read.release();
  return number(env, 0);
}

}  // namespace

void defineRingIo(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "ringWrite", RingWrite);
  define(env, exports, instance, "ringRead", RingRead);
  define(env, exports, instance, "ringReadBlocking", RingReadBlocking);
}

}  // namespace nydus
