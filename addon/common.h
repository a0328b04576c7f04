// Shared by all files of the addon: reading arguments, the per-thread instance, system results.
#pragma once
#include <node_api.h>
#include <uv.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace nydus {

struct RingServer;
struct Poll;

// One per environment: the main thread and every worker load the addon on their own. Only that thread touches it.
struct Instance {
  napi_env env = nullptr;
  uv_loop_t* loop = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
  bool closing = false;
  uint32_t openHandles = 0;  // uv handles whose close callback has not run yet
  std::vector<std::shared_ptr<RingServer>> rings;
  std::vector<Poll*> polls;
  std::vector<uint32_t> freePolls;
};

// The arguments of one call. An argument of a wrong type reads as 0 or null, which every function refuses by itself.
template <size_t kMax>
class ArgsUpTo {
 public:
  ArgsUpTo(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = kMax;
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, values_, nullptr, &data);
    instance_ = static_cast<Instance*>(data);
  }
  napi_env env() const { return env_; }
  Instance& instance() const { return *instance_; }
  napi_value operator[](size_t i) const { return values_[i]; }

  int32_t i32(size_t i) const {
    int32_t value = 0;
    napi_get_value_int32(env_, values_[i], &value);
    return value;
  }
  uint32_t u32(size_t i) const {
    uint32_t value = 0;
    napi_get_value_uint32(env_, values_[i], &value);
    return value;
  }
  // Offsets and sizes: a number from 0 to 2^53; anything else is -1.
  int64_t size(size_t i) const {
    double value = -1;
    if (napi_get_value_double(env_, values_[i], &value) != napi_ok) return -1;
    if (!(value >= 0 && value <= 9007199254740991.0)) return -1;
    return static_cast<int64_t>(value);
  }
  bool boolean(size_t i) const {
    bool value = false;
    napi_get_value_bool(env_, values_[i], &value);
    return value;
  }
  bool u64(size_t i, uint64_t* value) const {
    bool lossless = false;
    return napi_get_value_bigint_uint64(env_, values_[i], value, &lossless) == napi_ok && lossless;
  }
  bool isNull(size_t i) const {
    napi_valuetype type;
    return napi_typeof(env_, values_[i], &type) != napi_ok || type == napi_null || type == napi_undefined;
  }

 private:
  napi_env env_;
  Instance* instance_ = nullptr;
  napi_value values_[kMax] = {};
};
using Args = ArgsUpTo<8>;

// The memory of a typed array; `data` is null (and `length` 0) for anything else and for a detached one.
template <class T>
struct Span {
  T* data = nullptr;
  size_t length = 0;
  Span(napi_env env, napi_value value, napi_typedarray_type expected) {
    napi_typedarray_type type;
    void* p = nullptr;
    size_t n = 0;
    if (napi_get_typedarray_info(env, value, &type, &n, &p, nullptr, nullptr) != napi_ok || type != expected) return;
    data = static_cast<T*>(p);
    length = data == nullptr ? 0 : n;
  }
};
struct Bytes : Span<uint8_t> {
  Bytes(napi_env env, napi_value v) : Span(env, v, napi_uint8_array) {}
  // For libraries that refuse null: an array of length 0 may have no memory.
  uint8_t* address() const {
    static uint8_t nothing;
    return data == nullptr ? &nothing : data;
  }
};
struct Ints : Span<int32_t> {
  Ints(napi_env env, napi_value v) : Span(env, v, napi_int32_array) {}
};
struct Doubles : Span<double> {
  Doubles(napi_env env, napi_value v) : Span(env, v, napi_float64_array) {}
};

inline bool isArrayOf(napi_env env, napi_value value, napi_typedarray_type expected) {
  napi_typedarray_type type;
  return napi_get_typedarray_info(env, value, &type, nullptr, nullptr, nullptr, nullptr) == napi_ok && type == expected;
}
inline bool isBytes(napi_env env, napi_value value) { return isArrayOf(env, value, napi_uint8_array); }

inline napi_value number(napi_env env, int64_t value) {
  napi_value out = nullptr;
  if (value >= INT32_MIN && value <= INT32_MAX) {
    napi_create_int32(env, static_cast<int32_t>(value), &out);
  } else {
    napi_create_int64(env, value, &out);
  }
  return out;
}
// What a system call returned, or -errno.
inline napi_value systemResult(napi_env env, int64_t result) { return number(env, result < 0 ? -errno : result); }

// Calls a JavaScript function from the event loop; an exception becomes an uncaught one, as from any callback.
void callJs(napi_env env, napi_ref function, bool hasArgument, int64_t argument);

// Registers a function under `name` with the environment's Instance as its data.
void define(napi_env env, napi_value exports, Instance* instance, const char* name, napi_callback callback);

void defineSockets(napi_env env, napi_value exports, Instance* instance);
void definePolls(napi_env env, napi_value exports, Instance* instance);
void defineMappings(napi_env env, napi_value exports, Instance* instance);
void defineDevices(napi_env env, napi_value exports, Instance* instance);
void defineRings(napi_env env, napi_value exports, Instance* instance);
void defineCodecs(napi_env env, napi_value exports, Instance* instance);
void defineEncoders(napi_env env, napi_value exports, Instance* instance);
void defineHashes(napi_env env, napi_value exports, Instance* instance);
void defineGzipIndex(napi_env env, napi_value exports, Instance* instance);
void defineUnits(napi_env env, napi_value exports, Instance* instance);

// A uv handle of this environment was opened, and its close callback ran.
void handleOpened(Instance& instance);
void handleClosed(Instance& instance);
// Closes all polls; called when the environment goes.
void closePolls(Instance& instance);
void closeRings(Instance& instance);

}  // namespace nydus
