#include "memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "common.h"

namespace nydus {

int Mapping::create(int fd, uint64_t offset, uint64_t size, std::shared_ptr<Mapping>* out) {
  uint64_t end;
  if (size == 0 || __builtin_add_overflow(offset, size, &end) || end > INT64_MAX) return -EINVAL;
  struct stat st;
  if (fstat(fd, &st) != 0) return -errno;
  // Regular files, memfds and hugetlbfs files say their size; others (a device) have none to compare with.
  if (!S_ISREG(st.st_mode)) return -ENODEV;
  if (end > static_cast<uint64_t>(st.st_size)) return -ERANGE;
  // hugetlbfs wants offset and length in huge pages, which is what st_blksize says there.
  const uint64_t page = std::max<uint64_t>(sysconf(_SC_PAGESIZE), st.st_blksize > 0x10000 ? st.st_blksize : 0);
  const uint64_t skip = offset % page;
  uint64_t length = size + skip;
  if (page > 0x10000) length = (length + page - 1) / page * page;
  void* base = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, offset - skip);
  if (base == MAP_FAILED) return -errno;
  madvise(base, length, MADV_DONTDUMP);
  std::shared_ptr<Mapping> mapping(new Mapping);
  mapping->base_ = base;
  mapping->length_ = length;
  mapping->data_ = static_cast<uint8_t*>(base) + skip;
  mapping->size_ = size;
  *out = std::move(mapping);
  return 0;
}

Mapping::~Mapping() {
  if (base_ != nullptr) munmap(base_, length_);
}

namespace {
bool endsBeyond(uint64_t start, uint64_t size) { return size == 0 || start > UINT64_MAX - (size - 1); }
bool overlap(uint64_t a, uint64_t aSize, uint64_t b, uint64_t bSize) { return a < b ? b - a < aSize : a - b < bSize; }
}  // namespace

int MemoryMap::create(std::vector<Region> regions, MemoryRef* out) {
  auto map = std::make_shared<MemoryMap>();
  for (const Region& r : regions) {
    if (endsBeyond(r.spec.gpa, r.spec.size) || endsBeyond(r.spec.uva, r.spec.size)) return -EINVAL;
  }
  std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.spec.uva < b.spec.uva; });
  for (size_t i = 1; i < regions.size(); i++) {
    const RegionSpec &a = regions[i - 1].spec, &b = regions[i].spec;
    if (overlap(a.uva, a.size, b.uva, b.size)) return -EINVAL;
  }
  std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.spec.gpa < b.spec.gpa; });
  for (size_t i = 1; i < regions.size(); i++) {
    const RegionSpec &a = regions[i - 1].spec, &b = regions[i].spec;
    if (overlap(a.gpa, a.size, b.gpa, b.size)) return -EINVAL;
  }
  map->regions_ = std::move(regions);
  *out = std::move(map);
  return 0;
}

const Region* MemoryMap::search(uint64_t gpa, uint32_t* hint) const {
  auto after = std::upper_bound(regions_.begin(), regions_.end(), gpa,
                                [](uint64_t at, const Region& r) { return at < r.spec.gpa; });
  if (after == regions_.begin()) return nullptr;
  const Region& r = *(after - 1);
  if (gpa - r.spec.gpa >= r.spec.size) return nullptr;
  *hint = static_cast<uint32_t>(&r - regions_.data());
  return &r;
}

uint8_t* MemoryMap::fromUser(uint64_t uva, uint64_t length) const {
  for (const Region& r : regions_) {
    const uint64_t at = uva - r.spec.uva;
    if (at < r.spec.size) return length <= r.spec.size - at ? r.host + at : nullptr;
  }
  return nullptr;
}

}  // namespace nydus
