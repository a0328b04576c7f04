// The ring functions as JavaScript calls them.
#include <unistd.h>

#include "ring_server.h"

namespace nydus {
namespace {

void onKickReady(uv_poll_t* handle, int status, int) {
  auto* poll = static_cast<RingPoll*>(handle->data);
  RingServer* server = poll->server;
  if (server == nullptr) return;
  uint64_t value;
  if (status < 0 || read(server->ring.wake, &value, sizeof(value)) < 0) {
    // EAGAIN: somebody else read it. Anything else is not an eventfd and would be ready forever.
    if (status < 0 || (errno != EAGAIN && errno != EINTR)) uv_poll_stop(handle);
  }
  server->ring.stats.kicks++;
  callJs(poll->instance->env, server->onKick, false, 0);
}

void closePoll(RingServer& server) {
  if (server.poll == nullptr) return;
  server.poll->server = nullptr;
  uv_poll_stop(&server.poll->handle);
  uv_close(reinterpret_cast<uv_handle_t*>(&server.poll->handle), [](uv_handle_t* handle) {
    auto* poll = static_cast<RingPoll*>(handle->data);
    Instance& instance = *poll->instance;
    delete poll;
    handleClosed(instance);
  });
  server.poll = nullptr;
}

int openPoll(RingServer& server) {
  auto poll = std::make_unique<RingPoll>();
  poll->server = &server;
  poll->instance = server.instance;
  if (const int error = uv_poll_init(server.instance->loop, &poll->handle, server.ring.wake)) return error;
  poll->handle.data = poll.get();
  handleOpened(*server.instance);
  server.poll = poll.release();
  return uv_poll_start(&server.poll->handle, UV_READABLE, onKickReady);
}

void dropReferences(RingServer& server) {
  napi_env env = server.instance->env;
  if (server.onKick != nullptr) napi_delete_reference(env, server.onKick);
  for (napi_ref& buffer : server.buffers) {
    if (buffer != nullptr) napi_delete_reference(env, buffer);
    buffer = nullptr;
  }
  server.onKick = nullptr;
}

uint16_t stop(RingServer& server) {
  closePoll(server);  // before the descriptor can be closed
  const uint16_t base = server.ring.detach();
  dropReferences(server);
  return base;
}

// Checks and keeps the slots' memory. False when a buffer is too small.
bool takeBuffers(const Args& args, uint32_t slotCount, RingServer& server) {
  napi_env env = args.env();
  void* data[2] = {};
  size_t length[2] = {};
  for (int i = 0; i < 2; i++) {
    if (napi_get_arraybuffer_info(env, args[2 + i], &data[i], &length[i]) != napi_ok) return false;
  }
  Ints state(env, args[4]);
  if (length[0] < size_t(slotCount) * kRequestBytes || length[1] < size_t(slotCount) * kReplyBytes) return false;
  if (state.length < size_t(slotCount) * kStateWords) return false;
  server.ring.requests = static_cast<uint8_t*>(data[0]);
  server.ring.replies = static_cast<uint8_t*>(data[1]);
  server.ring.state = state.data;
  for (int i = 0; i < 3; i++) napi_create_reference(env, args[2 + i], 1, &server.buffers[i]);
  return true;
}

napi_value RingAttach(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Instance& instance = args.instance();
  std::shared_ptr<Device> device = findDevice(args.i32(0));
  const uint32_t index = args.u32(1), slotCount = args.u32(5);
  if (!device || index >= device->queues.size()) return number(env, -ENODEV);
  napi_valuetype type;
  if (slotCount == 0 || slotCount > kSlotsMax || instance.closing) return number(env, -EINVAL);
  if (napi_typeof(env, args[6], &type) != napi_ok || type != napi_function) return number(env, -EINVAL);
  auto server = std::make_shared<RingServer>();
  server->instance = &instance;
  if (!takeBuffers(args, slotCount, *server)) return number(env, -EINVAL);
  napi_create_reference(env, args[6], 1, &server->onKick);
  if (int error = server->ring.attach(std::move(device), index, slotCount)) {
    dropReferences(*server);
    return number(env, error);
  }
  if (int error = openPoll(*server)) {
    stop(*server);
    return number(env, error);
  }
  instance.rings.push_back(std::move(server));
  return number(env, static_cast<int64_t>(instance.rings.size() - 1));
}

napi_value RingDetach(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const auto* server = findRing(args.instance(), args.u32(0));
  if (server == nullptr) return number(env, -EBADF);
  const uint16_t base = stop(**server);
  args.instance().rings[args.u32(0)] = nullptr;
  return number(env, base);
}

napi_value RingPop(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const auto* server = findRing(args.instance(), args.u32(0));
  if (server == nullptr) return number(env, -EBADF);
  Ints popped(env, args[1]);
  const uint32_t max = args.u32(2);
  if (max > popped.length) return number(env, -EINVAL);
  return number(env, (*server)->ring.pop(popped.data, max, args.u32(3)));
}

napi_value RingFlush(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const auto* server = findRing(args.instance(), args.u32(0));
  if (server == nullptr) return number(env, -EBADF);
  Ints done(env, args[1]);
  const uint32_t count = args.u32(2);
  if (count > done.length) return number(env, -EINVAL);
  return number(env, (*server)->ring.flush(done.data, count, args.boolean(3)));
}

napi_value RingArm(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const auto* server = findRing(args.instance(), args.u32(0));
  return number(env, server == nullptr ? -EBADF : (*server)->ring.arm());
}

napi_value RingStatistics(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const auto* server = findRing(args.instance(), args.u32(0));
  if (server == nullptr) return number(env, -EBADF);
  Span<double> out(env, args[1], napi_float64_array);
  if (out.length < 5) return number(env, -EINVAL);
  const RingStats& stats = (*server)->ring.stats;
  const uint64_t values[] = {stats.popped, stats.completed, stats.malformed, stats.notified, stats.kicks};
  for (int i = 0; i < 5; i++) out.data[i] = static_cast<double>(values[i]);
  return number(env, 0);
}

}  // namespace

void closeRings(Instance& instance) {
  for (auto& server : instance.rings) {
    if (server) stop(*server);
    server = nullptr;
  }
}

void defineRings(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "ringAttach", RingAttach);
  define(env, exports, instance, "ringDetach", RingDetach);
  define(env, exports, instance, "ringPop", RingPop);
  define(env, exports, instance, "ringFlush", RingFlush);
  define(env, exports, instance, "ringArm", RingArm);
  define(env, exports, instance, "ringStats", RingStatistics);
  defineRingIo(env, exports, instance);
}

}  // namespace nydus
