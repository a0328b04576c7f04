#include "fault.h"

#include <signal.h>

#include <mutex>

namespace nydus {

thread_local Landing* currentLanding = nullptr;

namespace {
struct sigaction previous;

void onFault(int signal, siginfo_t* info, void* context) {
  if (currentLanding != nullptr) siglongjmp(currentLanding->target, 1);
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
    return;
  }
  if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
    return;
  }
  // Returning repeats the access, this time with the default action: a core dump at the right place.
  ::signal(signal, SIG_DFL);
}
}  // namespace

void installFaultHandler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = onFault;
    // NODEFER: siglongjmp leaves the handler without restoring the signal mask.
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
  });
}

}  // namespace nydus
