// A descriptor for work on a pool thread.
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace nydus {

// A duplicate: the caller may close its own descriptor meanwhile, and the number become another file.
class OwnFd {
 public:
  explicit OwnFd(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 3)), error_(fd_ < 0 ? -errno : 0) {}
  ~OwnFd() {
    if (fd_ >= 0) close(fd_);
  }
  OwnFd(const OwnFd&) = delete;
  OwnFd& operator=(const OwnFd&) = delete;

  // Why there is none, as -errno; otherwise 0.
  int error() const { return error_; }
  int get() const { return fd_; }

 private:
  const int fd_;
  const int error_;
};

}  // namespace nydus
