// Surviving SIGBUS: memory that another process can truncate is only touched inside guarded().
#pragma once
#include <csetjmp>

namespace nydus {

struct Landing {
  sigjmp_buf target;
  Landing* outer;
};
// initial-exec: the signal handler must not run the lazy allocation of thread-local storage.
extern thread_local Landing* currentLanding __attribute__((tls_model("initial-exec")));

// Once per process. Faults outside guarded() go on to the handler that was there before.
void installFaultHandler();

// Runs `body`; false when it touched memory that is not there (any more). `body` must own nothing that needs a
// destructor and must not call the allocator: it may be left in the middle.
template <class Body>
[[gnu::noinline]] bool guarded(Body&& body) {
  Landing landing;
  landing.outer = currentLanding;
  if (sigsetjmp(landing.target, 0) != 0) {
    currentLanding = landing.outer;
    return false;
  }
  currentLanding = &landing;
  body();
  currentLanding = landing.outer;
  return true;
}

}  // namespace nydus
