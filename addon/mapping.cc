// Sealed memory files and mappings which JavaScript reads: only for memory that nobody can truncate.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <unordered_map>

#include "common.h"

namespace nydus {
namespace {

// Lives until the ArrayBuffer's finalizer ran, which may be long after unmap(): by then the address can be another
// view's.
struct View {
  void* base;
  size_t length;
  bool mapped;
};

napi_value MemfdCreate(napi_env env, napi_callback_info info) {
  Args args(env, info);
  char name[128];
  size_t length = 0;
  if (napi_get_value_string_utf8(env, args[0], name, sizeof(name), &length) != napi_ok) return number(env, -EINVAL);
  const int64_t size = args.size(1);
  if (size < 0) return number(env, -EINVAL);
  const int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return systemResult(env, -1);
  if (ftruncate(fd, size) != 0) {
    const int error = errno;
    close(fd);
    return number(env, -error);
  }
  return number(env, fd);
}

napi_value MemfdSeal(napi_env env, napi_callback_info info) {
  Args args(env, info);
  return systemResult(env, fcntl(args.i32(0), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL));
}

// Views are found again by address: unmap() gets nothing but the ArrayBuffer.
std::mutex viewsLock;
std::unordered_map<void*, View*>& views() {
  static auto* all = new std::unordered_map<void*, View*>;
  return *all;
}

// Unmaps once; the caller holds viewsLock.
void release(void* data, View* view) {
  if (!view->mapped) return;
  view->mapped = false;
  views().erase(data);
  munmap(view->base, view->length);
}

void finalizeView(napi_env, void* data, void* hint) {
  std::lock_guard guard(viewsLock);
  auto* view = static_cast<View*>(hint);
  release(data, view);
  delete view;
}

napi_value Map(napi_env env, napi_callback_info info) {
  Args args(env, info);
  const int64_t offset = args.size(1), size = args.size(2);
  if (offset < 0 || size <= 0) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "map: offset must be a safe integer >= 0 and size one above 0");
    return nullptr;
  }
  const int fd = args.i32(0);
  struct stat st;
  if (fstat(fd, &st) != 0) return systemResult(env, -1);
  if (offset > INT64_MAX - size || offset + size > st.st_size) return number(env, -ERANGE);
  const int64_t skip = offset % sysconf(_SC_PAGESIZE);
  const bool writable = args.boolean(3);
  const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  const size_t length = static_cast<size_t>(size + skip);
  void* base = mmap(nullptr, length, protection, writable ? MAP_SHARED : MAP_PRIVATE, fd, offset - skip);
  if (base == MAP_FAILED) return systemResult(env, -1);
  void* data = static_cast<uint8_t*>(base) + skip;
  auto* view = new View{base, length, true};
  {
    std::lock_guard guard(viewsLock);
    views()[data] = view;
  }
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, data, size, finalizeView, view, &buffer) != napi_ok) {
    finalizeView(env, data, view);
    return number(env, -ENOMEM);
  }
  return buffer;
}

napi_value Unmap(napi_env env, napi_callback_info info) {
  Args args(env, info);
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_arraybuffer_info(env, args[0], &data, &length) != napi_ok || data == nullptr) return number(env, -EINVAL);
  View* view;
  {
    std::lock_guard guard(viewsLock);
    auto found = views().find(data);
    if (found == views().end()) return number(env, -EINVAL);
    view = found->second;
  }
  // The store's last user may be this very ArrayBuffer: the finalizer can run, and unmap, within the detach.
  if (napi_detach_arraybuffer(env, args[0]) != napi_ok) return number(env, -EBUSY);
  std::lock_guard guard(viewsLock);
  auto found = views().find(data);
  if (found != views().end() && found->second == view) release(data, view);
  return number(env, 0);
}

}  // namespace

void defineMappings(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "memfdCreate", MemfdCreate);
  define(env, exports, instance, "memfdSeal", MemfdSeal);
  define(env, exports, instance, "map", Map);
  define(env, exports, instance, "unmap", Unmap);
}

}  // namespace nydus
