// Work on a pool thread of libuv: what it keeps alive meanwhile, and how its result comes back.
#pragma once
#include <initializer_list>
#include <memory>

#include "common.h"

namespace nydus {

// Strong references of one environment, dropped with their owner. Only that environment's thread makes and drops them.
class References {
 public:
  explicit References(napi_env env) : env_(env) {}
  ~References() {
    for (napi_ref reference : refs_) napi_delete_reference(env_, reference);
  }
  References(const References&) = delete;
  References& operator=(const References&) = delete;

  // Keeps an object and, with a typed array, its memory. False: no memory for it. null and undefined need no keeping.
  bool keep(napi_value value) {
    napi_valuetype type;
    if (napi_typeof(env_, value, &type) != napi_ok) return false;
    if (type == napi_null || type == napi_undefined) return true;
    napi_ref reference = nullptr;
    if (napi_create_reference(env_, value, 1, &reference) != napi_ok) return false;
    refs_.push_back(reference);
    return true;
  }
  napi_ref last() const { return refs_.back(); }

 private:
  napi_env env_;
  std::vector<napi_ref> refs_;
};

// A task is made on the thread of its environment, runs `int64_t execute()` on a pool thread, where it must not touch
// anything of JavaScript, and goes on the thread that it came from.
struct PoolTask {
  // Back on its thread, before `done` is called with the result. False: nobody waits for `done` any more.
  bool finish(int64_t) { return true; }
};

template <class Task>
class PoolWork {
 public:
  // Runs the task, then calls `done` on this thread with what it returned, or with -ECANCELED if it did not run; an
  // environment that goes meanwhile is not called. `kept` live until then: the memory that the task works on.
  // 0, or what refused it: -EINVAL (`done` is no function), -ENOMEM, -EAGAIN (the pool), -ECANCELED (environment goes).
  static int start(napi_env env, Instance& instance, const char* name, std::unique_ptr<Task> task, napi_value done,
                   std::initializer_list<napi_value> kept) {
    napi_valuetype type;
    if (napi_typeof(env, done, &type) != napi_ok || type != napi_function) return -EINVAL;
    if (instance.closing) return -ECANCELED;
    auto work = std::unique_ptr<PoolWork>(new PoolWork(env, instance, std::move(task)));
    for (napi_value value : kept) {
      if (!work->references_.keep(value)) return -ENOMEM;
    }
    if (!work->references_.keep(done)) return -ENOMEM;
    napi_value label;
    if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label) != napi_ok ||
        napi_create_async_work(env, nullptr, label, execute, complete, work.get(), &work->work_) != napi_ok) {
      return -ENOMEM;
    }
    if (napi_queue_async_work(env, work->work_) != napi_ok) return -EAGAIN;
    work.release();  // `complete` has it now
    return 0;
  }

  ~PoolWork() {
    if (work_ != nullptr) napi_delete_async_work(env_, work_);
  }

 private:
  PoolWork(napi_env env, Instance& instance, std::unique_ptr<Task> task)
      : env_(env), instance_(instance), task_(std::move(task)), references_(env) {}

  static void execute(napi_env, void* data) {
    auto& work = *static_cast<PoolWork*>(data);
    work.result_ = work.task_->execute();
  }

  static void complete(napi_env env, napi_status status, void* data) {
    std::unique_ptr<PoolWork> work(static_cast<PoolWork*>(data));
    const int64_t result = status == napi_ok ? work->result_ : -ECANCELED;
    const bool wanted = work->task_->finish(result);
    if (wanted && !work->instance_.closing) callJs(env, work->references_.last(), true, result);
  }

  napi_env env_;
  Instance& instance_;
  std::unique_ptr<Task> task_;
  References references_;  // the callback is the last
  int64_t result_ = 0;
  napi_async_work work_ = nullptr;
};

}  // namespace nydus
