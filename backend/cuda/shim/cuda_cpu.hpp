// What makes CUDA C++ kernels compile for the CPU; cuda_cpu.cpp runs them.
//
// A kernel without barriers and shuffles (EXPORT_FLAT) runs as a plain loop over its threads.
// Others (EXPORT) run on fibers, one for each thread of a block.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#define CUDA_CPU 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static
#define __constant__ static
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(cuda_cpu::dynamic_shared())

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace cuda_cpu {

extern uint3 thread_index, block_index;
extern dim3 block_size, grid_size;
extern unsigned thread_number;

char* dynamic_shared();            // of the running block, aligned to 16 bytes
void block_barrier();
void warp_barrier(unsigned mask);
uint64_t shuffle(unsigned mask, uint64_t bits, unsigned source);
int launch(bool flat, const unsigned* sizes, size_t shared, uint64_t schedule, void (*body)(void*), void* argument);

template <class T> T shuffled(unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= 8, "a shuffle moves up to eight bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, source);
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T> struct plain { typedef T type; };
template <class T> struct plain<const T> { typedef T type; };

template <class... A, size_t... I>
void unpack(void (*kernel)(A...), void** a, std::index_sequence<I...>) {
  kernel(*static_cast<typename plain<A>::type*>(a[I])...);
}
template <class... A> void unpack(void (*kernel)(A...), void** a) {
  unpack(kernel, a, std::index_sequence_for<A...>());
}

}  // namespace cuda_cpu

// Callable with what cuLaunchKernel takes: a pointer to each argument; sizes hold grid and block.
#define EXPORT_AS(name, flat)                                                                      \
  extern "C" int name##_on_cpu(void** arguments, const unsigned* sizes, size_t shared, uint64_t schedule) { \
    return cuda_cpu::launch(flat, sizes, shared, schedule,                                         \
                            [](void* a) { cuda_cpu::unpack(name, static_cast<void**>(a)); }, arguments); }
#define EXPORT(name) EXPORT_AS(name, false)
#define EXPORT_FLAT(name) EXPORT_AS(name, true)

// ---- what device code finds by itself -------------------------------------------------------------

#define threadIdx (cuda_cpu::thread_index)
#define blockIdx (cuda_cpu::block_index)
#define blockDim (cuda_cpu::block_size)
#define gridDim (cuda_cpu::grid_size)
#define warpSize 32

inline void __syncthreads() { cuda_cpu::block_barrier(); }
inline void __syncwarp(unsigned mask = ~0u) { cuda_cpu::warp_barrier(mask); }
inline void __threadfence() {}
inline unsigned cuda_cpu_lane() { return cuda_cpu::thread_number % 32; }
template <class T> T __shfl_sync(unsigned m, T v, int source, int width = 32) {
  unsigned lane = cuda_cpu_lane();
  return cuda_cpu::shuffled(m, v, (lane & ~(width - 1)) + (source & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned m, T v, int x, int = 32) {
  return cuda_cpu::shuffled(m, v, cuda_cpu_lane() ^ x);
}
template <class T> T __shfl_down_sync(unsigned m, T v, unsigned d, int width = 32) {
  unsigned lane = cuda_cpu_lane();
  return cuda_cpu::shuffled(m, v, (lane & (width - 1)) + d < unsigned(width) ? lane + d : lane);
}
template <class T> T __shfl_up_sync(unsigned m, T v, unsigned d, int width = 32) {
  unsigned lane = cuda_cpu_lane();
  return cuda_cpu::shuffled(m, v, (lane & (width - 1)) >= d ? lane - d : lane);
}
inline unsigned __ballot_sync(unsigned m, int predicate) {
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i)
    if (m >> i & 1) bits |= unsigned(__shfl_sync(m, predicate, i) != 0) << i;
  return bits;
}
inline int __any_sync(unsigned m, int predicate) { return __ballot_sync(m, predicate) != 0; }
inline int __all_sync(unsigned m, int predicate) { return __ballot_sync(m, predicate) == m; }

template <class T> T atomicAdd(T* p, T v) { T old = *p; *p = old + v; return old; }
template <class T> T atomicMax(T* p, T v) { T old = *p; *p = old < v ? v : old; return old; }
template <class T> T atomicMin(T* p, T v) { T old = *p; *p = v < old ? v : old; return old; }
template <class T> T atomicExch(T* p, T v) { T old = *p; *p = v; return old; }
template <class T> T atomicCAS(T* p, T expected, T v) { T old = *p; if (old == expected) *p = v; return old; }
template <class T> T __ldg(const T* p) { return *p; }

using std::abs; using std::acos; using std::acosh; using std::asin; using std::asinh; using std::atan;
using std::atanh; using std::ceil; using std::cos; using std::cosh; using std::erf; using std::exp;
using std::expm1; using std::floor; using std::fmod; using std::isfinite; using std::isinf;
using std::isnan; using std::log; using std::log1p; using std::pow;
using std::rint; using std::sin; using std::sinh; using std::sqrt; using std::tan; using std::tanh;
template <class T> T max(T a, T b) { return a < b ? b : a; }
template <class T> T min(T a, T b) { return b < a ? b : a; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __float_as_int(float x) { int i; memcpy(&i, &x, 4); return i; }
inline float __int_as_float(int i) { float x; memcpy(&x, &i, 4); return x; }
inline long long __double_as_longlong(double x) { long long i; memcpy(&i, &x, 8); return i; }
inline double __longlong_as_double(long long i) { double x; memcpy(&x, &i, 8); return x; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
