// Guest memory: an immutable, counted table of mapped regions, replaced as a whole.
#pragma once
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace nydus {

// A mapping of a file, unmapped with its last user.
class Mapping {
 public:
  // Maps [offset, offset+size) shared and writable; `offset` need not be page-aligned. 0 or -errno.
  static int create(int fd, uint64_t offset, uint64_t size, std::shared_ptr<Mapping>* out);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  Mapping() = default;
  void* base_ = nullptr;
  size_t length_ = 0;
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

// As the front-end describes it: guest-physical address, bytes, front-end virtual address, offset in the file.
struct RegionSpec {
  uint64_t gpa, size, uva, offset;
  bool operator==(const RegionSpec& o) const { return gpa == o.gpa && size == o.size && uva == o.uva; }
};

struct Region {
  RegionSpec spec;
  std::shared_ptr<Mapping> mapping;
  uint8_t* host;
};

class MemoryMap {
 public:
  // -EINVAL: size 0, an end beyond 2^64, or two regions that overlap in guest or front-end addresses.
  static int create(std::vector<Region> regions, std::shared_ptr<const MemoryMap>* out);

  const std::vector<Region>& regions() const { return regions_; }

  // The region that holds guest address `gpa`, or null. `hint` is the caller's last hit.
  const Region* find(uint64_t gpa, uint32_t* hint) const {
    if (*hint < regions_.size()) {
      const Region& r = regions_[*hint];
      if (gpa - r.spec.gpa < r.spec.size) return &r;
    }
    return search(gpa, hint);
  }
  // Host address of [uva, uva+length), which must lie within one region; null otherwise.
  uint8_t* fromUser(uint64_t uva, uint64_t length) const;

  // Requests in flight that point into this table.
  mutable std::atomic<int64_t> users{0};

 private:
  const Region* search(uint64_t gpa, uint32_t* hint) const;
  std::vector<Region> regions_;  // ascending by gpa
};
using MemoryRef = std::shared_ptr<const MemoryMap>;

// A request's hold on the table it was translated with.
class MemoryHold {
 public:
  MemoryHold() = default;
  explicit MemoryHold(MemoryRef map) : map_(std::move(map)) {
    if (map_) map_->users.fetch_add(1, std::memory_order_relaxed);
  }
  MemoryHold(const MemoryHold& other) : MemoryHold(other.map_) {}
  MemoryHold(MemoryHold&& other) noexcept : map_(std::move(other.map_)) { other.map_ = nullptr; }
  MemoryHold& operator=(MemoryHold other) noexcept {
    map_.swap(other.map_);
    return *this;
  }
  ~MemoryHold() {
    if (map_) map_->users.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  MemoryRef map_;
};

}  // namespace nydus
