// Runs CUDA C++ kernels on the CPU: one fiber per thread of a block, one block after another.
//
// Each fiber goes on until it meets a barrier, then the next one runs. A warp runs as far as it can
// before the next warp starts, which is the schedule that shows a missing __syncthreads; the launch's
// `schedule` turns the order round (1) or draws it (above 1). Shared memory is static memory, and
// dynamic shared memory starts as NaN. Launches must not overlap: whoever calls holds a lock.
#include "cuda_cpu.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>
#include <vector>

namespace cuda_cpu {

uint3 thread_index, block_index;
dim3 block_size, grid_size;
unsigned thread_number;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
  void* stack_pointer = nullptr;
  ucontext_t context;
  char* stack = nullptr;
  uint3 thread;
  unsigned number = 0;
  State state = State::ready;
};

struct Warp {
  uint64_t exchange[32];
  unsigned arrived = 0;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
std::vector<char> shared_bytes;
Fiber* current = nullptr;
unsigned threads, alive, waiting;
uint64_t schedule;
void (*body)(void*);
void* body_argument;
constexpr size_t stack_size = 128 << 10;

// The dynamic shared memory of the running block, aligned to 16 bytes.
char* dynamic_shared() {
  return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(shared_bytes.data()) + 15) & ~uintptr_t(15));
}

void become(Fiber& f) {
  current = &f;
  thread_index = f.thread;
  thread_number = f.number;
}

// ---- switching between fibers ---------------------------------------------------------------------

#if defined(__x86_64__)
void* main_stack;
extern "C" void cuda_cpu_switch(void** from, void* to);
asm(".text\n.weak cuda_cpu_switch\n.type cuda_cpu_switch,@function\ncuda_cpu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size cuda_cpu_switch,.-cuda_cpu_switch\n");
void leave() { cuda_cpu_switch(&current->stack_pointer, main_stack); }
void enter(Fiber& f) { become(f); cuda_cpu_switch(&main_stack, f.stack_pointer); }
void start();
void prepare(Fiber& f) {
  uintptr_t top = (reinterpret_cast<uintptr_t>(f.stack) + stack_size) & ~uintptr_t(15);
  void** words = reinterpret_cast<void**>(top - 16);
  *words = reinterpret_cast<void*>(&start);
  for (int i = 0; i < 6; ++i) *--words = nullptr;        // the six registers the switch pops
  f.stack_pointer = words;
}
#else
ucontext_t main_context;
void leave() { swapcontext(&current->context, &main_context); }
void enter(Fiber& f) { become(f); swapcontext(&main_context, &f.context); }
void start();
void prepare(Fiber& f) {
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack;
  f.context.uc_stack.ss_size = stack_size;
  makecontext(&f.context, start, 0);
}
#endif

void start() {
  body(body_argument);
  current->state = State::done;
  --alive;
  leave();
  abort();
}

// ---- barriers -------------------------------------------------------------------------------------

void block_barrier() {
  if (!current) { fprintf(stderr, "cuda_cpu: a kernel exported as flat meets a barrier\n"); abort(); }
  current->state = State::at_block_barrier;
  ++waiting;
  leave();
}

void warp_barrier(unsigned mask) {
  if (!current) { fprintf(stderr, "cuda_cpu: a kernel exported as flat shuffles\n"); abort(); }
  unsigned first = current->number / 32 * 32, size = std::min(32u, threads - first);
  unsigned present = size == 32 ? ~0u : (1u << size) - 1;
  Warp& warp = warps[current->number / 32];
  warp.arrived |= 1u << (current->number % 32);
  if ((warp.arrived & mask & present) != (mask & present)) {
    current->state = State::at_warp_barrier;
    leave();
    return;
  }
  warp.arrived &= ~mask;
  for (unsigned i = 0; i < size; ++i)
    if ((mask >> i & 1) && fibers[first + i].state == State::at_warp_barrier)
      fibers[first + i].state = State::ready;
}

uint64_t shuffle(unsigned mask, uint64_t bits, unsigned source) {
  Warp& warp = warps[current->number / 32];
  warp.exchange[current->number % 32] = bits;
  warp_barrier(mask);
  bits = warp.exchange[source & 31];
  warp_barrier(mask);
  return bits;
}

// ---- launching ------------------------------------------------------------------------------------

uint64_t draw() {
  schedule ^= schedule << 13; schedule ^= schedule >> 7; schedule ^= schedule << 17;
  return schedule;
}

// All threads of one block to their ends; 1 if they wait for each other for ever.
int run_block() {
  alive = threads;
  waiting = 0;
  for (auto& warp : warps) warp = Warp();
  for (unsigned i = 0; i < threads; ++i) { fibers[i].state = State::ready; prepare(fibers[i]); }
  std::vector<unsigned> order(warps.size());
  for (unsigned i = 0; i < order.size(); ++i) order[i] = schedule == 1 ? unsigned(order.size()) - 1 - i : i;
  while (alive) {
    if (schedule > 1)
      for (unsigned i = unsigned(order.size()); i > 1; --i) std::swap(order[i - 1], order[draw() % i]);
    bool progress = false;
    for (unsigned w : order) {
      unsigned first = w * 32, size = std::min(32u, threads - first);
      for (bool again = true; again;) {
        again = false;
        unsigned turn = schedule > 1 ? unsigned(draw() % size) : 0;
        for (unsigned k = 0; k < size; ++k) {
          unsigned lane = (k + turn) % size;
          Fiber& f = fibers[first + (schedule == 1 ? size - 1 - lane : lane)];
          if (f.state == State::ready) { again = progress = true; enter(f); }
        }
      }
    }
    if (alive && waiting == alive) {
      waiting = 0;
      for (unsigned i = 0; i < threads; ++i)
        if (fibers[i].state == State::at_block_barrier) fibers[i].state = State::ready;
      progress = true;
    }
    if (!progress) return 1;
  }
  return 0;
}

int launch(bool flat, const unsigned* sizes, size_t shared, uint64_t order, void (*run)(void*), void* argument) {
  grid_size = {sizes[0], sizes[1], sizes[2]};
  block_size = {sizes[3], sizes[4], sizes[5]};
  threads = sizes[3] * sizes[4] * sizes[5];
  schedule = order; body = run; body_argument = argument;
  if (fibers.size() < threads) fibers.resize(threads);
  warps.resize((threads + 31) / 32);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    if (!flat && !fiber.stack) fiber.stack = static_cast<char*>(malloc(stack_size));
    fiber.number = i;
    fiber.thread = {i % sizes[3], i / sizes[3] % sizes[4], i / (sizes[3] * sizes[4])};
  }
  current = nullptr;
  for (block_index.z = 0; block_index.z < sizes[2]; ++block_index.z)
    for (block_index.y = 0; block_index.y < sizes[1]; ++block_index.y)
      for (block_index.x = 0; block_index.x < sizes[0]; ++block_index.x) {
        if (!flat) {
          shared_bytes.assign(shared + 32, char(0xFF));        // a NaN wherever nothing was written
          if (run_block()) return 1;
          continue;
        }
        for (thread_number = 0; thread_number < threads; ++thread_number) {
          thread_index = fibers[thread_number].thread;
          body(argument);
        }
      }
  return 0;
}

}  // namespace cuda_cpu
