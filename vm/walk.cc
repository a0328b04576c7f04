// walk DIR: prints one line for every entry below DIR (DIR itself as "/"), sorted by path bytes, with tabs between
//   path type mode uid gid nlink size mtime rdev target xattrs sha256
// which is the form of the manifests under test/fixtures. Runs in the guest on the mounted tree and on the host on
// the source tree, so that the two can be compared as text. It shares no code with the product.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

int failures = 0;

void complain(const char *what, const std::string &path) {
  fprintf(stderr, "walk: %s %s: %s\n", what, path.c_str(), strerror(errno));
  failures++;
}

// SHA-256 as in FIPS 180-4. The round constants are computed from the cube roots of the first 64 primes.
class Sha256 {
 public:
  Sha256() {
    int primes = 0;
    for (int n = 2; primes < 64; n++) {
      bool prime = true;
      for (int d = 2; d * d <= n; d++) prime = prime && n % d != 0;
      if (!prime) continue;
      k_[primes] = fraction(n, 3);
      if (primes < 8) h_[primes] = fraction(n, 2);
      primes++;
    }
  }

  void update(const uint8_t *data, size_t size) {
    total_ += size;
    while (size > 0) {
      size_t n = std::min(size, sizeof block_ - used_);
      memcpy(block_ + used_, data, n);
      used_ += n, data += n, size -= n;
      if (used_ == sizeof block_) compress(), used_ = 0;
    }
  }

  std::string hex() {
    uint64_t bits = total_ * 8;
    uint8_t one = 0x80, zero = 0, length[8];
    for (int i = 0; i < 8; i++) length[i] = uint8_t(bits >> (56 - 8 * i));
    update(&one, 1);
    while (used_ != 56) update(&zero, 1);
    update(length, 8);
    char text[65];
    for (int i = 0; i < 8; i++) snprintf(text + 8 * i, 9, "%08x", h_[i]);
    return text;
  }

 private:
  // The first 32 bits of the fraction of the square or cube root of n, by bisection on integers.
  static uint32_t fraction(unsigned n, int root) {
    unsigned __int128 target = (unsigned __int128)n << (32 * root);
    uint64_t low = 0, high = uint64_t(32) << 32;
    while (high - low > 1) {
      unsigned __int128 mid = (low + high) / 2;
      unsigned __int128 power = root == 2 ? mid * mid : mid * mid * mid;
      (power <= target ? low : high) = uint64_t(mid);
    }
    return uint32_t(low);
  }

  static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

  void compress() {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) {
      w[i] = uint32_t(block_[4 * i]) << 24 | uint32_t(block_[4 * i + 1]) << 16 | uint32_t(block_[4 * i + 2]) << 8 |
             block_[4 * i + 3];
    }
    for (int i = 16; i < 64; i++) {
      uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    memcpy(s, h_, sizeof s);
    for (int i = 0; i < 64; i++) {
      uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
      uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
      uint32_t t1 = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + choice + k_[i] + w[i];
      uint32_t t2 = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + majority;
      memmove(s + 1, s, 7 * sizeof *s);
      s[4] += t1;
      s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h_[i] += s[i];
  }

  uint32_t k_[64], h_[8];
  uint8_t block_[64];
  size_t used_ = 0;
  uint64_t total_ = 0;
};

std::string escaped(const std::string &bytes) {
  std::string out;
  for (unsigned char c : bytes) {
    char hex[8];
    if (c < 0x20 || c == 0x7f || c == '\\') {
      snprintf(hex, sizeof hex, "\\x%02x", c);
      out += hex;
    } else {
      out += char(c);
    }
  }
  return out;
}

std::string digest_of(const std::string &path, off_t size) {
  int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return complain("open", path), "!";
  static uint8_t buffer[1 << 20];
  Sha256 sha;
  off_t seen = 0;
  ssize_t n;
  while ((n = read(fd, buffer, sizeof buffer)) > 0) sha.update(buffer, size_t(n)), seen += n;
  if (n < 0) complain("read", path);
  close(fd);
  if (n == 0 && seen != size) errno = EIO, complain("size differs from what was read:", path);
  return sha.hex();
}

std::string xattrs_of(const std::string &path) {
  std::vector<char> names(65536), value(65536);
  ssize_t size = llistxattr(path.c_str(), names.data(), names.size());
  if (size < 0) {
    if (errno != ENOTSUP) complain("listxattr", path);
    return "-";
  }
  std::map<std::string, std::string> sorted;
  for (const char *name = names.data(); name < names.data() + size; name += strlen(name) + 1) {
    ssize_t n = lgetxattr(path.c_str(), name, value.data(), value.size());
    if (n < 0) complain(name, path);
    std::string hex;
    for (ssize_t i = 0; i < n; i++) {
      char two[3];
      snprintf(two, sizeof two, "%02x", uint8_t(value[size_t(i)]));
      hex += two;
    }
    sorted[name] = hex;
  }
  std::string out;
  for (auto &[name, hex] : sorted) out += (out.empty() ? "" : ",") + escaped(name) + "=" + hex;
  return out.empty() ? "-" : out;
}

std::string type_of(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "dir";
    case S_IFLNK: return "symlink";
    case S_IFCHR: return "char";
    case S_IFBLK: return "block";
    case S_IFIFO: return "fifo";
    default: return "socket";
  }
}

void describe(const std::string &path, const std::string &shown) {
  struct stat st;
  if (lstat(path.c_str(), &st) < 0) return complain("lstat", path);
  std::string target = "-", sha = "-";
  if (S_ISLNK(st.st_mode)) {
    char link[4097];
    ssize_t n = readlink(path.c_str(), link, sizeof link);
    if (n < 0) return complain("readlink", path);
    target = escaped(std::string(link, size_t(n)));
  }
  if (S_ISREG(st.st_mode)) sha = digest_of(path, st.st_size);
  std::string rdev = std::to_string(major(st.st_rdev)) + ":" + std::to_string(minor(st.st_rdev));
  printf("%s\t%s\t%04o\t%u\t%u\t%lu\t%lld\t%lld.%09ld\t%s\t%s\t%s\t%s\n", escaped(shown).c_str(),
         type_of(st.st_mode).c_str(), unsigned(st.st_mode & 07777), st.st_uid, st.st_gid,
         (unsigned long)st.st_nlink, (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
         rdev.c_str(), target.c_str(), xattrs_of(path).c_str(), sha.c_str());
}

void collect(const std::string &root, const std::string &below, std::vector<std::string> &out) {
  std::string path = root + below;
  DIR *dir = opendir(path.c_str());
  if (!dir) return complain("opendir", path);
  std::vector<std::string> children;
  errno = 0;
  while (dirent *entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    std::string child = below + "/" + name;
    out.push_back(child);
    struct stat st;
    bool is_dir = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) is_dir = lstat((root + child).c_str(), &st) == 0 && S_ISDIR(st.st_mode);
    if (is_dir) children.push_back(child);
    errno = 0;
  }
  if (errno) complain("readdir", path);
  closedir(dir);
  for (auto &child : children) collect(root, child, out);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: walk DIR\n"), 2;
  std::vector<std::string> paths;
  collect(argv[1], "", paths);
  std::sort(paths.begin(), paths.end(), [](const std::string &a, const std::string &b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [](char x, char y) { return uint8_t(x) < uint8_t(y); });
  });
  describe(argv[1], "/");
  for (auto &path : paths) describe(std::string(argv[1]) + path, path);
  return failures ? 1 : 0;
}
