#include "chain.h"

#include <algorithm>
#include <cstring>

namespace nydus {

bool Walk::addPart(uint8_t* host, uint64_t length) {
  if (parts > 0) {
    iovec& last = iov[parts - 1];
    if (static_cast<uint8_t*>(last.iov_base) + last.iov_len == host) {
      last.iov_len += length;
      return true;
    }
  }
  if (parts == kPartsMax) return false;
  iov[parts++] = {host, length};
  return true;
}

bool Walk::add(const Desc& desc) {
  if (desc.len == 0) return true;
  const bool writes = (desc.flags & kDescWrite) != 0;
  if (!writes && writable > 0) return false;
  if (desc.addr > UINT64_MAX - (desc.len - 1)) return false;
  uint64_t at = desc.addr, left = desc.len;
  if (readable + writable + left > UINT32_MAX) return false;
  while (left > 0) {
    const Region* region = map->find(at, hint);
    if (region == nullptr) return false;
    const uint64_t inside = at - region->spec.gpa;
    const uint64_t length = std::min(left, region->spec.size - inside);
    uint8_t* host = region->host + inside;
    if (writes) {
      if (!addPart(host, length)) return false;
    } else {
      const uint32_t copy = static_cast<uint32_t>(std::min<uint64_t>(length, kRequestBytes - copied));
      memcpy(request + copied, host, copy);
      copied += copy;
    }
    at += length;
    left -= length;
  }
  (writes ? writable : readable) += desc.len;
  return true;
}

Ring::Outcome Ring::readChain(uint16_t head, Walk* walk) {
  uint16_t index = head;
  for (uint32_t count = 0; count < num_; count++) {
    const Desc desc = loadDesc(&queue->memory.desc[index]);
    if ((desc.flags & kDescIndirect) != 0) {
      if (!indirect_ || (desc.flags & kDescNext) != 0) return Outcome::malformed;
      return readIndirect(desc, walk) ? Outcome::ok : Outcome::malformed;
    }
    if (!walk->add(desc)) return Outcome::malformed;
    if ((desc.flags & kDescNext) == 0) return Outcome::ok;
    if (desc.next >= num_) return Outcome::malformed;
    index = desc.next;
  }
  return Outcome::malformed;  // a loop
}

// The table may cross regions and need not be aligned: copied as a whole, then never looked at again in guest memory.
bool Ring::readIndirect(const Desc& outer, Walk* walk) {
  if (outer.len == 0 || outer.len % sizeof(Desc) != 0 || outer.len / sizeof(Desc) > kIndirectMax) return false;
  if (outer.addr > UINT64_MAX - (outer.len - 1)) return false;
  const uint32_t entries = outer.len / sizeof(Desc);
  auto* to = reinterpret_cast<uint8_t*>(table_.get());
  for (uint64_t at = outer.addr, left = outer.len; left > 0;) {
    const Region* region = walk->map->find(at, walk->hint);
    if (region == nullptr) return false;
    const uint64_t inside = at - region->spec.gpa;
    const uint64_t length = std::min(left, region->spec.size - inside);
    memcpy(to, region->host + inside, length);
    to += length;
    at += length;
    left -= length;
  }
  // The compiler must not read guest memory again in place of the copy.
  asm volatile("" : : "r"(table_.get()) : "memory");
  uint32_t index = 0;
  for (uint32_t count = 0; count < entries; count++) {
    const Desc& desc = table_[index];
    if ((desc.flags & kDescIndirect) != 0 || !walk->add(desc)) return false;
    if ((desc.flags & kDescNext) == 0) return true;
    if (desc.next >= entries) return false;
    index = desc.next;
  }
  return false;
}

void scatter(const iovec* parts, uint64_t skip, const uint8_t* bytes, uint64_t length) {
  while (length > 0) {
    if (skip >= parts->iov_len) {
      skip -= parts->iov_len;
    } else {
      const uint64_t n = std::min<uint64_t>(length, parts->iov_len - skip);
      memcpy(static_cast<uint8_t*>(parts->iov_base) + skip, bytes, n);
      bytes += n;
      length -= n;
      skip = 0;
    }
    parts++;
  }
}

}  // namespace nydus
