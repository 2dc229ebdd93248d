// How many threads a run takes, what a fork leaves of them, and loops that are shared by threads.
#pragma once
#include <cstdint>
#include <functional>

namespace gradatim {

// How many threads the calling thread may use now: what OpenMP is set to, but one inside a
// parallel region, and one in a thread that was forked, whose OpenMP team has stayed behind.
int thread_limit();

// What OpenMP is set to for the calling thread.
int max_threads();

// Whether the processor can run oneDNN at all.
bool has_sse41();

// The largest team of the calling thread since it last asked, in loops of our own.
int threads_used();

// Sets OpenMP's number of threads for the calling thread; returns what it was.
int set_threads(int threads);

// OpenMP is set to this many threads while the object lives: oneDNN reads the number when it makes
// a primitive and again when it runs it, and needs the same one both times.
class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;

 private:
  int before_;
};

// Runs body(begin, end) on chunks of [0, n), in parallel when there is enough to do.
// Chunks start at multiples of grain, so results do not depend on the number of threads.
void parallel(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

}  // namespace gradatim
