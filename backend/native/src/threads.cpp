// The number of threads by OpenMP's settings, one after a fork, and loops in chunks.
#include "threads.hpp"

#include <algorithm>

#include <omp.h>
#include <pthread.h>

namespace gradatim {
namespace {

// True in the one thread that a forked child has: OpenMP would wait there for threads of the parent.
// Threads that the child starts itself have teams of their own.
thread_local bool forked = false;
thread_local int largest_team = 0;

const int registered = pthread_atfork(nullptr, nullptr, [] {
  forked = true;
  largest_team = 0;
});

}  // namespace

int max_threads() { return omp_get_max_threads(); }

int thread_limit() { return forked || omp_in_parallel() ? 1 : omp_get_max_threads(); }

bool has_sse41() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.1");
}

int threads_used() {
  int used = largest_team;
  largest_team = 0;
  return used;
}

int set_threads(int threads) {
  int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  return before;
}

Team::Team(int threads) : before_(set_threads(threads)) {}

Team::~Team() { set_threads(before_); }

void parallel(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  int64_t chunks = (n + grain - 1) / grain;
  int threads = static_cast<int>(std::min<int64_t>(chunks, thread_limit()));
  largest_team = std::max(largest_team, std::max(threads, 1));
  if (threads <= 1) {
    if (n > 0) body(0, n);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    int64_t team = omp_get_num_threads();        // may be fewer than were asked for
    int64_t each = (chunks + team - 1) / team;
    int64_t begin = omp_get_thread_num() * each * grain;
    int64_t end = std::min(n, begin + each * grain);
    if (begin < end) body(begin, end);
  }
}

}  // namespace gradatim
