// Registration and the life of one environment (the main thread or a worker).
#include "common.h"
#include "fault.h"

namespace nydus {

void callJs(napi_env env, napi_ref function, bool hasArgument, int64_t argument) {
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value target = nullptr, global = nullptr, result = nullptr;
  napi_get_reference_value(env, function, &target);
  napi_get_global(env, &global);
  if (target != nullptr && global != nullptr) {
    napi_value value = hasArgument ? number(env, argument) : nullptr;
    if (napi_make_callback(env, nullptr, global, target, hasArgument ? 1 : 0, &value, &result) ==
        napi_pending_exception) {
      napi_value error = nullptr;
      if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
    }
  }
  napi_close_handle_scope(env, scope);
}

void define(napi_env env, napi_value exports, Instance* instance, const char* name, napi_callback callback) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, instance, &function) == napi_ok) {
    napi_set_named_property(env, exports, name, function);
  }
}

namespace {
// The environment may only go when no uv handle of ours is left on its loop.
void finishIfClosed(Instance& instance) {
  if (!instance.closing || instance.openHandles != 0 || instance.hook == nullptr) return;
  napi_async_cleanup_hook_handle hook = instance.hook;
  instance.hook = nullptr;
  napi_remove_async_cleanup_hook(hook);
}

void onCleanup(napi_async_cleanup_hook_handle, void* data) {
  Instance& instance = *static_cast<Instance*>(data);
  instance.closing = true;
  closeRings(instance);
  closePolls(instance);
  finishIfClosed(instance);
}

void deleteInstance(napi_env, void* data, void*) { delete static_cast<Instance*>(data); }
}  // namespace

void handleOpened(Instance& instance) { instance.openHandles++; }
void handleClosed(Instance& instance) {
  instance.openHandles--;
  finishIfClosed(instance);
}

}  // namespace nydus

NAPI_MODULE_INIT() {
  using namespace nydus;
  installFaultHandler();
  auto* instance = new Instance;
  instance->env = env;
  if (napi_get_uv_event_loop(env, &instance->loop) != napi_ok ||
      napi_set_instance_data(env, instance, deleteInstance, nullptr) != napi_ok ||
      napi_add_async_cleanup_hook(env, onCleanup, instance, &instance->hook) != napi_ok) {
    napi_throw_error(env, nullptr, "the addon cannot register itself with this environment");
    return nullptr;
  }
  defineSockets(env, exports, instance);
  definePolls(env, exports, instance);
  defineMappings(env, exports, instance);
  defineDevices(env, exports, instance);
  defineRings(env, exports, instance);
  defineCodecs(env, exports, instance);
  defineGzipIndex(env, exports, instance);
  defineEncoders(env, exports, instance);
  defineHashes(env, exports, instance);
  defineUnits(env, exports, instance);
  return exports;
}
