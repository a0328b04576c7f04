// Test-only: a guest driver's request loop in C++, for benchmarks. Written in JavaScript it would be the
// bottleneck of what it measures. It drives one split ring (INDIRECT and EVENT_IDX negotiated) the way Linux' virtio_fs
// does: one ring slot per request, an indirect table of header, arguments, out header and one descriptor per page.
#include <napi.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr uint32_t kPage = 4096;
constexpr uint32_t kTableBytes = 8192;  // 260 descriptors of a 1 MiB READ take 4160 bytes
constexpr uint16_t kNext = 1, kWrite = 2, kIndirect = 4;

struct Desc {
  uint64_t addr;
  uint32_t len;
  uint16_t flags;
  uint16_t next;
};
struct UsedElem {
  uint32_t id;
  uint32_t len;
};

uint64_t nowNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return uint64_t(t.tv_sec) * 1000000000u + uint64_t(t.tv_nsec);
}

// What a run is asked for; offsets are bytes in guest memory, which begins at guest address 0.
struct Plan {
  int memFd, kickFd, callFd;
  uint64_t memSize, descAt, availAt, usedAt, areaAt;
  uint32_t queueSize, depth, writable, spinNs;
  uint16_t startIndex;
  uint64_t count;      // operations to complete
  bool openRelease;    // every template is an OPEN; its RELEASE follows and both are one operation
  bool inOrder;        // one template after the other, instead of any
  bool scatterPages;   // reply pages in an order that no two are adjacent
  bool echo;           // ceiling: a thread of ours answers, without any work, instead of a back end
  std::vector<uint8_t> bytes;     // templates, one after the other
  std::vector<uint32_t> lengths;  // bytes of each template
};

struct Outcome {
  uint64_t operations = 0, errors = 0, badLengths = 0, elapsedNs = 0, kicks = 0, sleeps = 0, replyBytes = 0;
  std::vector<uint32_t> latencyNs;  // a sample of at most a million
  uint16_t endIndex = 0;
  std::string failure;
};

class Driver {
 public:
  Driver(const Plan& plan, Outcome& out) : plan_(plan), out_(out) {}

  void run() {
    void* p = mmap(nullptr, plan_.memSize, PROT_READ | PROT_WRITE, MAP_SHARED, plan_.memFd, 0);
    if (p == MAP_FAILED) {
      out_.failure = "cannot map guest memory";
      return;
    }
    base_ = static_cast<uint8_t*>(p);
    prepare();
    std::thread responder;
    if (plan_.echo) responder = std::thread([this] { echoLoop(); });
    loop();
    stopEcho_.store(true);
    if (responder.joinable()) {
      uint64_t one = 1;
      (void)!write(plan_.kickFd, &one, 8);
      responder.join();
    }
    munmap(base_, plan_.memSize);
  }

 private:
  uint64_t slotBytes() const { return kTableBytes + kPage + kPage + uint64_t(plan_.writable + kPage - 1) / kPage * kPage; }
  uint64_t tableAt(uint32_t s) const { return plan_.areaAt + s * slotBytes(); }
  uint64_t requestAt(uint32_t s) const { return tableAt(s) + kTableBytes; }
  uint64_t headerAt(uint32_t s) const { return requestAt(s) + kPage; }
  uint64_t dataAt(uint32_t s) const { return headerAt(s) + kPage; }
  uint16_t* u16(uint64_t at) const { return reinterpret_cast<uint16_t*>(base_ + at); }
  Desc* desc(uint64_t at) const { return reinterpret_cast<Desc*>(base_ + at); }
  uint16_t usedIndex() const { return __atomic_load_n(u16(plan_.usedAt + 2), __ATOMIC_ACQUIRE); }

  void prepare() {
    const uint32_t n = uint32_t(plan_.lengths.size());
    offsets_.resize(n);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
      offsets_[i] = at;
      at += plan_.lengths[i];
    }
    avail_ = plan_.startIndex;
    used_ = usedIndex();
    started_.resize(plan_.depth);
    releasing_.assign(plan_.depth, 0);
    for (uint32_t s = 0; s < plan_.depth; s++) buildTable(s);
  }

  // Descriptors 0 and 1 are the readable part, 2 the out header, the rest the pages of the reply.
  void buildTable(uint32_t s) {
    Desc* t = desc(tableAt(s));
    t[0] = {requestAt(s), 40, kNext, 1};
    t[1] = {requestAt(s) + 40, 0, kNext, 2};
    const uint32_t data = plan_.writable > 16 ? plan_.writable - 16 : 0;
    const uint32_t pages = (data + kPage - 1) / kPage;
    t[2] = {headerAt(s), 16, uint16_t(kWrite | (pages ? kNext : 0)), 3};
    for (uint32_t i = 0; i < pages; i++) {
      const uint32_t left = data - i * kPage;
      const uint32_t page = plan_.scatterPages ? scattered(i, pages) : i;
      t[3 + i] = {dataAt(s) + uint64_t(page) * kPage, left < kPage ? left : kPage,
                  uint16_t(kWrite | (i + 1 < pages ? kNext : 0)), uint16_t(4 + i)};
    }
    tableLength_ = (3 + pages) * 16;
  }

  // Even pages first, downwards, then odd ones: a permutation without ascending neighbours.
  static uint32_t scattered(uint32_t i, uint32_t n) {
    const uint32_t odd = n / 2;
    return i < odd ? 2 * (odd - 1 - i) + 1 : 2 * (n - 1 - i);
  }

  void place(uint32_t s, const uint8_t* bytes, uint32_t length) {
    memcpy(base_ + requestAt(s), bytes, length);
    *reinterpret_cast<uint64_t*>(base_ + requestAt(s) + 8) = ++unique_;
    desc(tableAt(s))[1].len = length - 40;
    *desc(plan_.descAt + s * 16) = {tableAt(s), tableLength_, kIndirect, 0};
    u16(plan_.availAt + 4)[avail_ & (plan_.queueSize - 1)] = uint16_t(s);
    avail_++;
  }

  void submitNext(uint32_t s) {
    const uint32_t n = uint32_t(plan_.lengths.size());
    random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
    const uint32_t i = plan_.inOrder ? uint32_t(next_++ % n) : uint32_t((random_ >> 33) % n);
    started_[s] = nowNs();
    place(s, plan_.bytes.data() + offsets_[i], plan_.lengths[i]);
    submitted_++;
  }

  void submitRelease(uint32_t s) {
    uint8_t request[64] = {};
    memcpy(request, base_ + requestAt(s), 40);
    const uint32_t length = 64, opcode = 18;
    memcpy(request, &length, 4);
    memcpy(request + 4, &opcode, 4);
    memcpy(request + 40, base_ + dataAt(s), 8);
    place(s, request, 64);
  }

  void publish(uint16_t before) {
    __atomic_store_n(u16(plan_.availAt + 2), avail_, __ATOMIC_RELEASE);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const uint16_t event = __atomic_load_n(u16(plan_.usedAt + 4 + 8 * plan_.queueSize), __ATOMIC_RELAXED);
    if (uint16_t(avail_ - event - 1) < uint16_t(avail_ - before)) {
      uint64_t one = 1;
      (void)!write(plan_.kickFd, &one, 8);
      out_.kicks++;
    }
  }

  void finish(uint32_t s, uint32_t usedLength) {
    const uint8_t* header = base_ + headerAt(s);
    uint32_t length;
    int32_t error;
    memcpy(&length, header, 4);
    memcpy(&error, header + 4, 4);
    if (!plan_.echo && length != usedLength) out_.badLengths++;
    if (error != 0 && !plan_.echo) out_.errors++;
    if (plan_.openRelease && !releasing_[s]) {
      releasing_[s] = 1;
      submitRelease(s);
      return;
    }
    releasing_[s] = 0;
    out_.replyBytes += usedLength;
    out_.operations++;
    if (out_.latencyNs.size() < 1000000) out_.latencyNs.push_back(uint32_t(nowNs() - started_[s]));
    if (submitted_ < plan_.count) submitNext(s);
  }

  // Waits until the used index moves; false when nothing came for ten seconds.
  bool wait() {
    const uint64_t until = nowNs() + plan_.spinNs;
    while (plan_.spinNs && nowNs() < until) {
      if (usedIndex() != used_) return true;
      __builtin_ia32_pause();
    }
    __atomic_store_n(u16(plan_.availAt + 4 + 2 * plan_.queueSize), used_, __ATOMIC_RELAXED);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (usedIndex() != used_) return true;
    out_.sleeps++;
    pollfd p{plan_.callFd, POLLIN, 0};
    if (poll(&p, 1, 10000) == 0) return usedIndex() != used_;
    uint64_t value;
    (void)!read(plan_.callFd, &value, 8);
    return true;
  }

  void loop() {
    const uint64_t begin = nowNs();
    uint16_t before = avail_;
    for (uint32_t s = 0; s < plan_.depth && submitted_ < plan_.count; s++) submitNext(s);
    publish(before);
    while (out_.operations < plan_.count) {
      const uint16_t seen = usedIndex();
      if (seen == used_) {
        if (!wait()) {
          out_.failure = "the back end did not answer for ten seconds";
          break;
        }
        continue;
      }
      before = avail_;
      while (used_ != seen) {
        const UsedElem e = reinterpret_cast<UsedElem*>(base_ + plan_.usedAt + 4)[used_ & (plan_.queueSize - 1)];
        used_++;
        if (e.id >= plan_.depth) {
          out_.failure = "the back end returned a head that was not given to it";
          return;
        }
        finish(e.id, e.len);
      }
      if (avail_ != before) publish(before);
    }
    out_.elapsedNs = nowNs() - begin;
    out_.endIndex = avail_;
  }

  // The other side for the ceiling: pops heads and returns them at once.
  void echoLoop() {
    uint16_t last = plan_.startIndex, used = used_;
    while (!stopEcho_.load(std::memory_order_relaxed)) {
      const uint16_t idx = __atomic_load_n(u16(plan_.availAt + 2), __ATOMIC_ACQUIRE);
      if (idx == last) {
        __atomic_store_n(u16(plan_.usedAt + 4 + 8 * plan_.queueSize), last, __ATOMIC_RELAXED);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (__atomic_load_n(u16(plan_.availAt + 2), __ATOMIC_ACQUIRE) != last) continue;
        pollfd p{plan_.kickFd, POLLIN, 0};
        uint64_t value;
        if (poll(&p, 1, 100) > 0) (void)!read(plan_.kickFd, &value, 8);
        continue;
      }
      const uint16_t before = used;
      while (last != idx) {
        const uint16_t head = u16(plan_.availAt + 4)[last++ & (plan_.queueSize - 1)];
        reinterpret_cast<UsedElem*>(base_ + plan_.usedAt + 4)[used++ & (plan_.queueSize - 1)] = {head, plan_.writable};
      }
      __atomic_store_n(u16(plan_.usedAt + 2), used, __ATOMIC_RELEASE);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      const uint16_t event = __atomic_load_n(u16(plan_.availAt + 4 + 2 * plan_.queueSize), __ATOMIC_RELAXED);
      if (uint16_t(used - event - 1) < uint16_t(used - before)) {
        uint64_t one = 1;
        (void)!write(plan_.callFd, &one, 8);
      }
    }
  }

  const Plan& plan_;
  Outcome& out_;
  uint8_t* base_ = nullptr;
  uint16_t avail_ = 0, used_ = 0;
  uint64_t submitted_ = 0, unique_ = 0, next_ = 0, random_ = 88172645463325252ull;
  uint32_t tableLength_ = 0;
  std::vector<uint32_t> offsets_;
  std::vector<uint64_t> started_;
  std::vector<uint8_t> releasing_;
  std::atomic<bool> stopEcho_{false};
};

double number(const Napi::Object& o, const char* name) { return o.Get(name).ToNumber().DoubleValue(); }

Plan readPlan(const Napi::Object& o) {
  Plan p;
  p.memFd = int(number(o, "memFd"));
  p.kickFd = int(number(o, "kickFd"));
  p.callFd = int(number(o, "callFd"));
  p.memSize = uint64_t(number(o, "memSize"));
  p.descAt = uint64_t(number(o, "descAt"));
  p.availAt = uint64_t(number(o, "availAt"));
  p.usedAt = uint64_t(number(o, "usedAt"));
  p.areaAt = uint64_t(number(o, "areaAt"));
  p.queueSize = uint32_t(number(o, "queueSize"));
  p.depth = uint32_t(number(o, "depth"));
  p.writable = uint32_t(number(o, "writable"));
  p.spinNs = uint32_t(number(o, "spinNs"));
  p.startIndex = uint16_t(number(o, "startIndex"));
  p.count = uint64_t(number(o, "count"));
  p.openRelease = number(o, "openRelease") != 0;
  p.inOrder = number(o, "inOrder") != 0;
  p.scatterPages = number(o, "scatterPages") != 0;
  p.echo = number(o, "echo") != 0;
  const auto bytes = o.Get("templates").As<Napi::Uint8Array>();
  p.bytes.assign(bytes.Data(), bytes.Data() + bytes.ByteLength());
  const auto lengths = o.Get("lengths").As<Napi::Uint32Array>();
  p.lengths.assign(lengths.Data(), lengths.Data() + lengths.ElementLength());
  return p;
}

Napi::Object outcome(Napi::Env env, const Outcome& o) {
  auto result = Napi::Object::New(env);
  result["operations"] = double(o.operations);
  result["errors"] = double(o.errors);
  result["badLengths"] = double(o.badLengths);
  result["elapsedNs"] = double(o.elapsedNs);
  result["kicks"] = double(o.kicks);
  result["sleeps"] = double(o.sleeps);
  result["replyBytes"] = double(o.replyBytes);
  result["endIndex"] = double(o.endIndex);
  result["failure"] = o.failure;
  auto latency = Napi::Uint32Array::New(env, o.latencyNs.size());
  memcpy(latency.Data(), o.latencyNs.data(), o.latencyNs.size() * sizeof(uint32_t));
  result["latencyNs"] = latency;
  return result;
}

// The loop runs on a pool thread; the promise gets its outcome.
class LoadWorker : public Napi::AsyncWorker {
 public:
  LoadWorker(Napi::Env env, Plan plan)
      : Napi::AsyncWorker(env), plan_(std::move(plan)), deferred_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { Driver(plan_, out_).run(); }
  void OnOK() override { deferred_.Resolve(outcome(Env(), out_)); }

 private:
  Plan plan_;
  Outcome out_;
  Napi::Promise::Deferred deferred_;
};

bool fits(const Plan& p) {
  const uint64_t pages = (uint64_t(p.writable) + kPage - 1) / kPage;
  const uint64_t need = p.areaAt + p.depth * (kTableBytes + 2 * kPage + pages * kPage);
  return !p.lengths.empty() && p.depth > 0 && p.depth <= p.queueSize && need <= p.memSize && (3 + pages) * 16 <= kTableBytes;
}

// runLoad(plan) → Promise of the outcome.
Napi::Value runLoad(const Napi::CallbackInfo& info) {
  Plan plan = readPlan(info[0].As<Napi::Object>());
  if (!fits(plan)) {
    throw Napi::RangeError::New(info.Env(), "runLoad: depth, writable and templates must fit the queue and guest memory");
  }
  auto* worker = new LoadWorker(info.Env(), std::move(plan));
  worker->Queue();
  return worker->promise();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports["runLoad"] = Napi::Function::New(env, runLoad);
  return exports;
}

}  // namespace

NODE_API_MODULE(nydus_test, init)
