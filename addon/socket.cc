// Unix sockets with descriptor passing.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "common.h"

namespace nydus {
namespace {

constexpr size_t kFdsMax = 253;  // SCM_MAX_FD of Linux

// The path argument as a socket address. 0 or -errno.
int socketAddress(const Args& args, size_t index, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  size_t length = 0;
  char path[sizeof(address->sun_path) + 1];
  if (napi_get_value_string_utf8(args.env(), args[index], nullptr, 0, &length) != napi_ok || length == 0) return -EINVAL;
  if (length >= sizeof(address->sun_path)) return -ENAMETOOLONG;
  napi_get_value_string_utf8(args.env(), args[index], path, sizeof(path), &length);
  if (memchr(path, 0, length) != nullptr) return -EINVAL;
  memcpy(address->sun_path, path, length);
  return 0;
}

int failed(int fd) {
  const int error = errno;
  close(fd);
  return -error;
}

napi_value ListenUnix(napi_env env, napi_callback_info info) {
  Args args(env, info);
  sockaddr_un address;
  if (int error = socketAddress(args, 0, &address)) return number(env, error);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return systemResult(env, -1);
  // Before bind, the mode of the descriptor is what the file gets (less the umask): no moment with more rights.
  if (fchmod(fd, 0600) != 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return number(env, failed(fd));
  }
  if (chmod(address.sun_path, 0600) != 0 || listen(fd, 16) != 0) {
    const int error = failed(fd);
    unlink(address.sun_path);
    return number(env, error);
  }
  return number(env, fd);
}

napi_value AcceptUnix(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  do {
    fd = accept4(args.i32(0), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  return systemResult(env, fd);
}

napi_value ConnectUnix(napi_env env, napi_callback_info info) {
  Args args(env, info);
  sockaddr_un address;
  if (int error = socketAddress(args, 0, &address)) return number(env, error);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return systemResult(env, -1);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) return number(env, failed(fd));
  return number(env, fd);
}

// Takes over the descriptors of a received message; closes all of them when `fds` cannot hold them.
int takeFds(msghdr& message, const Ints& fds) {
  size_t count = 0;
  bool refused = (message.msg_flags & MSG_CTRUNC) != 0;
  int taken[kFdsMax];
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < here; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      if (count < kFdsMax) {
        taken[count++] = fd;
      } else {
        close(fd);
        refused = true;
      }
    }
  }
  if (refused || count + 1 > fds.length) {
    for (size_t i = 0; i < count; i++) close(taken[i]);
    return refused || count > 0 ? -EMSGSIZE : 0;
  }
  fds.data[0] = static_cast<int32_t>(count);
  for (size_t i = 0; i < count; i++) fds.data[1 + i] = taken[i];
  return 0;
}

napi_value RecvMsg(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Bytes buffer(env, args[1]);
  const int64_t offset = args.size(2), length = args.size(3);
  Ints fds(env, args[4]);
  if (offset < 0 || length <= 0 || fds.length < 1) return number(env, -EINVAL);
  if (static_cast<uint64_t>(offset) > buffer.length || static_cast<uint64_t>(length) > buffer.length - offset) {
    return number(env, -EINVAL);
  }
  fds.data[0] = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)];
  iovec part = {buffer.data + offset, static_cast<size_t>(length)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t received;
  do {
    received = recvmsg(args.i32(0), &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return systemResult(env, -1);
  if (int error = takeFds(message, fds)) return number(env, error);
  return number(env, received);
}

napi_value SendMsg(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Bytes buffer(env, args[1]);
  const int64_t length = args.size(2);
  if (length <= 0 || static_cast<uint64_t>(length) > buffer.length) return number(env, -EINVAL);
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
  iovec part = {buffer.data, static_cast<size_t>(length)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!args.isNull(3)) {
    Ints fds(env, args[3]);
    if (fds.length > kFdsMax) return number(env, -EMSGSIZE);
    if (fds.length > 0) {
      const size_t bytes = fds.length * sizeof(int);
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(bytes);
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(bytes);
      memcpy(CMSG_DATA(c), fds.data, bytes);
    }
  }
  ssize_t sent;
  do {
    sent = sendmsg(args.i32(0), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return systemResult(env, sent);
}

napi_value CloseFd(napi_env env, napi_callback_info info) {
  Args args(env, info);
  return systemResult(env, close(args.i32(0)));
}

}  // namespace

void defineSockets(napi_env env, napi_value exports, Instance* instance) {
  define(env, exports, instance, "listenUnix", ListenUnix);
  define(env, exports, instance, "acceptUnix", AcceptUnix);
  define(env, exports, instance, "connectUnix", ConnectUnix);
  define(env, exports, instance, "recvMsg", RecvMsg);
  define(env, exports, instance, "sendMsg", SendMsg);
  define(env, exports, instance, "closeFd", CloseFd);
}

}  // namespace nydus
