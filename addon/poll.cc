// uv_poll on descriptors of ours, on the loop of the calling thread.
#include "common.h"

namespace nydus {

struct Poll {
  uv_poll_t handle;
  Instance* instance;
  napi_ref onReady;
};

namespace {

void onPoll(uv_poll_t* handle, int status, int events) {
  auto* poll = static_cast<Poll*>(handle->data);
  // A poll error (the descriptor was closed under us) is told as a disconnect: the owner's next read says what it is.
  callJs(poll->instance->env, poll->onReady, true, status < 0 ? UV_DISCONNECT : events);
}

void stop(Instance& instance, uint32_t index) {
  Poll* poll = instance.polls[index];
  instance.polls[index] = nullptr;
  napi_delete_reference(instance.env, poll->onReady);
  uv_poll_stop(&poll->handle);
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), [](uv_handle_t* handle) {
    auto* closed = static_cast<Poll*>(handle->data);
    Instance& owner = *closed->instance;
    delete closed;
    handleClosed(owner);
  });
}

napi_value PollStart(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Instance& instance = args.instance();
  const int events = args.i32(1);
  napi_valuetype type;
  if (napi_typeof(env, args[2], &type) != napi_ok || type != napi_function || instance.closing) {
    return number(env, -EINVAL);
  }
  if (events == 0 || (events & ~(UV_READABLE | UV_WRITABLE | UV_DISCONNECT)) != 0) return number(env, -EINVAL);
  auto poll = std::make_unique<Poll>();
  poll->instance = &instance;
  if (const int error = uv_poll_init(instance.loop, &poll->handle, args.i32(0))) return number(env, error);
  napi_create_reference(env, args[2], 1, &poll->onReady);
  poll->handle.data = poll.get();
  handleOpened(instance);
  uint32_t index;
  if (instance.freePolls.empty()) {
    index = static_cast<uint32_t>(instance.polls.size());
    instance.polls.push_back(nullptr);
  } else {
    index = instance.freePolls.back();
    instance.freePolls.pop_back();
  }
  instance.polls[index] = poll.release();
  if (const int error = uv_poll_start(&instance.polls[index]->handle, events, onPoll)) {
    stop(instance, index);
    instance.freePolls.push_back(index);
    return number(env, error);
  }
  return number(env, index);
}

napi_value PollStop(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Instance& instance = args.instance();
  const uint32_t index = args.u32(0);
  if (index >= instance.polls.size() || instance.polls[index] == nullptr) return number(env, -EBADF);
  stop(instance, index);
  instance.freePolls.push_back(index);
  return number(env, 0);
}

}  // namespace

void closePolls(Instance& instance) {
  for (uint32_t i = 0; i < instance.polls.size(); i++) {
    if (instance.polls[i] != nullptr) stop(instance, i);
  }
}

void definePolls(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "pollStart", PollStart);
  define(env, exports, instance, "pollStop", PollStop);
}

}  // namespace nydus
