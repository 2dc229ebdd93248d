// What every kernel starts from, on a GPU by NVRTC and on the CPU by the shim.
#pragma once
#ifndef CUDA_CPU
#define EXPORT(name)
#define EXPORT_FLAT(name)
#define DYNAMIC_SHARED(T, name)                     \
  extern __shared__ __align__(16) unsigned char name##_bytes[]; \
  T* name = reinterpret_cast<T*>(name##_bytes)
#endif

typedef long long int64;
typedef unsigned char uint8;
typedef unsigned int uint32;
typedef unsigned long long uint64;

// Every i below count once, by all threads of a grid along x.
#define EACH(count)                                                                                 \
  for (int64 i = int64(blockIdx.x) * blockDim.x + threadIdx.x; i < (count); i += int64(gridDim.x) * blockDim.x)

__device__ __forceinline__ float nan_of(float) { return __int_as_float(0x7fc00000); }
__device__ __forceinline__ double nan_of(double) { return __longlong_as_double(0x7ff8000000000000LL); }
__device__ __forceinline__ float infinity_of(float) { return __int_as_float(0x7f800000); }
__device__ __forceinline__ double infinity_of(double) { return __longlong_as_double(0x7ff0000000000000LL); }

// ---- bfloat16 and float16: stored in 16 bits, computed with in float --------------------------------

struct bfloat16 { unsigned short bits; };
struct float16 { unsigned short bits; };

// The nearest number of eight bits, ties to even; NaN stays NaN.
__device__ __forceinline__ float round_to_bfloat16(float x) {
  unsigned u = unsigned(__float_as_int(x));
  if ((u & 0x7fffffffu) > 0x7f800000u) return x;
  return __int_as_float(int((u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u));
}

// The nearest number of eleven bits, as a float16 has them; below 2^-14 fewer, above 65504 infinity.
__device__ __forceinline__ float round_to_float16(float x) {
  unsigned u = unsigned(__float_as_int(x)), sign = u & 0x80000000u, size = u ^ sign;
  if (size > 0x7f800000u) return x;
  if (size < 0x38800000u)                                // what is left are multiples of 2^-24
    return __int_as_float(int(unsigned(__float_as_int(__int_as_float(int(size)) + 0.5f - 0.5f)) | sign));
  size = (size + 0xfffu + (size >> 13 & 1u)) & 0xffffe000u;
  return __int_as_float(int((size > 0x477fe000u ? 0x7f800000u : size) | sign));
}

__device__ __forceinline__ double round_to_bfloat16(double x) { return round_to_bfloat16(float(x)); }
__device__ __forceinline__ double round_to_float16(double x) { return round_to_float16(float(x)); }

__device__ __forceinline__ float widen(bfloat16 x) { return __int_as_float(int(unsigned(x.bits) << 16)); }
__device__ __forceinline__ float widen(float16 x) {
  unsigned sign = unsigned(x.bits & 0x8000u) << 16, size = unsigned(x.bits & 0x7fffu);
  float whole = size < 0x400u ? float(size) * 5.9604644775390625e-8f
              : __int_as_float(int((size << 13) + (size < 0x7c00u ? 0x38000000u : 0x70000000u)));
  return __int_as_float(int(unsigned(__float_as_int(whole)) | sign));
}
template <class T> __device__ __forceinline__ T widen(T x) { return x; }

__device__ __forceinline__ void store(bfloat16* p, float x) {
  unsigned u = unsigned(__float_as_int(x));
  p->bits = (u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0 : (unsigned short)(unsigned(__float_as_int(round_to_bfloat16(x))) >> 16);
}
__device__ __forceinline__ void store(float16* p, float x) {
  unsigned u = unsigned(__float_as_int(round_to_float16(x))), sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
  if (size > 0x7f800000u) size = 0x7e00u;                                   // NaN
  else if (size == 0x7f800000u) size = 0x7c00u;
  else if (size < 0x38800000u) size = unsigned(__int_as_float(int(size)) * 16777216.0f);
  else size = (size - 0x38000000u) >> 13;
  p->bits = (unsigned short)(size | sign);
}
template <class T> __device__ __forceinline__ void store(T* p, T x) { *p = x; }

// ---- what is wrong, for the host to read when all is done ------------------------------------------

// The complaint that came first: its number, the value it is about and where that lies; in what step.
struct Complaint { int64 number, value, place, step; };

__device__ __forceinline__ void complain(Complaint* first, int number, int64 value, int64 place) {
  typedef unsigned long long Word;
  if (atomicCAS(reinterpret_cast<Word*>(&first->number), Word(0), Word(number)) != 0) return;
  first->value = value;
  first->place = place;
}

// ---- sums and maxima of a block, in an order that only the block's size decides ---------------------

// Numbers below and above all others.
template <class T> __device__ __forceinline__ T highest_of(T x) { return infinity_of(x); }
__device__ __forceinline__ int64 highest_of(int64) { return 0x7fffffffffffffffLL; }
__device__ __forceinline__ int highest_of(int) { return 0x7fffffff; }
__device__ __forceinline__ uint32 highest_of(uint32) { return 0xffffffffu; }
__device__ __forceinline__ uint8 highest_of(uint8) { return 255; }
__device__ __forceinline__ bool highest_of(bool) { return true; }
template <class T> __device__ __forceinline__ T lowest_of(T x) { return -infinity_of(x); }
__device__ __forceinline__ int64 lowest_of(int64) { return -0x7fffffffffffffffLL - 1; }
__device__ __forceinline__ int lowest_of(int) { return -0x7fffffff - 1; }
__device__ __forceinline__ uint32 lowest_of(uint32) { return 0; }
__device__ __forceinline__ uint8 lowest_of(uint8) { return 0; }
__device__ __forceinline__ bool lowest_of(bool) { return false; }

template <class T> __device__ __forceinline__ bool finite(T x) { return x - x == T(0); }

// As NumPy has it: NaN wins.
template <class T> __device__ __forceinline__ T larger(T a, T b) { return a > b || a != a ? a : b; }
template <class T> __device__ __forceinline__ T smaller(T a, T b) { return a < b || a != a ? a : b; }

struct Sum {
  template <class T> __device__ static T join(T a, T b) { return a + b; }
  template <class T> __device__ static T empty(T) { return T(0); }
};
struct Max {
  template <class T> __device__ static T join(T a, T b) { return larger(a, b); }
  template <class T> __device__ static T empty(T x) { return lowest_of(x); }
};
struct Min {
  template <class T> __device__ static T join(T a, T b) { return smaller(a, b); }
  template <class T> __device__ static T empty(T x) { return highest_of(x); }
};
struct Product {
  template <class T> __device__ static T join(T a, T b) { return a * b; }
  template <class T> __device__ static T empty(T) { return T(1); }
};

template <class How, class T> __device__ __forceinline__ T warp_reduce(T x) {
  for (int offset = 16; offset; offset >>= 1) x = How::join(x, T(__shfl_xor_sync(0xffffffffu, x, offset)));
  return x;
}

// The same result in every thread; `parts` is shared memory for 32 numbers. Blocks are whole warps.
template <class How, class T> __device__ T block_reduce(T x, T* parts) {
  unsigned thread = threadIdx.x + blockDim.x * threadIdx.y, warps = (blockDim.x * blockDim.y + 31) / 32;
  x = warp_reduce<How>(x);
  __syncthreads();                                       // whoever used `parts` before has read it
  if (thread % 32 == 0) parts[thread / 32] = x;
  __syncthreads();
  return warp_reduce<How>(thread % 32 < warps ? parts[thread % 32] : How::empty(x));
}

// ---- rows and columns -------------------------------------------------------------------------------

// Numbers (outer, n, inner): a group of threads, side by side in y, works on the n of one column.
// Threads side by side in x take columns that lie side by side; z takes the next outer.
struct Column {
  int64 outer, column, first;      // and the first element's place; k more are k * inner on
  bool inside;
  __device__ Column(int64 outers, int64 n, int64 inner) {
    int64 tiles = (inner + blockDim.x - 1) / blockDim.x;
    outer = int64(blockIdx.x) / tiles * blockDim.z + threadIdx.z;
    column = int64(blockIdx.x) % tiles * blockDim.x + threadIdx.x;
    inside = outer < outers && column < inner;
    first = inside ? outer * n * inner + column : 0;
  }
};

// The same result in every thread of a group; `parts` is shared memory for one number per thread.
// blockDim.y is a power of two.
template <class How, class T> __device__ T group_reduce(T x, T* parts) {
  if (blockDim.x == 1 && blockDim.z == 1 && blockDim.y % 32 == 0) return block_reduce<How>(x, parts);
  T* mine = parts + (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  __syncthreads();                                       // whoever used `parts` before has read it
  *mine = x;
  for (unsigned half = blockDim.y / 2; half; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) *mine = How::join(*mine, mine[half * blockDim.x]);
  }
  __syncthreads();
  return parts[threadIdx.z * blockDim.y * blockDim.x + threadIdx.x];
}

#define GROUP_THREADS 256          // the most threads of a block of groups

// ---- random numbers ---------------------------------------------------------------------------------

// Ten rounds of Philox4x32 (Salmon, Moraes, Dror and Shaw, 2011).
__device__ __forceinline__ void philox(uint32 (&c)[4], uint32 k0, uint32 k1) {
  for (int round = 0; round < 10; ++round) {
    uint32 high0 = __umulhi(0xD2511F53u, c[0]), low0 = 0xD2511F53u * c[0];
    uint32 high1 = __umulhi(0xCD9E8D57u, c[2]), low1 = 0xCD9E8D57u * c[2];
    c[0] = high1 ^ c[1] ^ k0; c[1] = low1;
    c[2] = high0 ^ c[3] ^ k1; c[3] = low0;
    k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
  }
}

// The word of element i of a draw whose rows have `row` elements, and the word of its pair.
__device__ __forceinline__ uint32 random_word(int64 seed, int64 step, int64 offset, uint32 stream, int64 i,
                                              int64 row, uint32* pair = nullptr) {
  uint64 number = uint64(offset) * uint64(row) + uint64(i), block = number / 4;
  uint32 c[4] = {uint32(block), uint32(block >> 32), uint32(uint64(step)), stream};
  philox(c, uint32(uint64(seed)), uint32(uint64(seed) >> 32));
  unsigned lane = unsigned(number % 4);
  uint32 even = lane < 2 ? c[0] : c[2], odd = lane < 2 ? c[1] : c[3];
  if (pair) *pair = lane % 2 ? even : odd;
  return lane % 2 ? odd : even;
}

__device__ __forceinline__ float unit_of(uint32 word, float) { return float(word >> 8) * 5.9604644775390625e-8f; }
__device__ __forceinline__ double unit_of(uint32 word, double) { return double(word) * 2.3283064365386963e-10; }

// Numbers in [low, high): what rounding lifts to `high` becomes `low`.
template <class T> __device__ T random_uniform(uint32 word, T low, T width, T high) {
  T x = unit_of(word, T(0)) * width + low;
  return low == T(0) && high == T(1) ? unit_of(word, T(0)) : x < high ? x : low;
}

// Box and Muller, "A note on the generation of random normal deviates", 1958.
template <class T> __device__ T random_normal(uint32 word, uint32 pair, bool odd, T mean, T deviation) {
  T first = T(odd ? pair : word), second = T(odd ? word : pair);
  T radius = sqrt(T(-2) * log((first + T(1)) * T(2.3283064365386963e-10)));
  T angle = second * T(2.0 * 3.14159265358979323846 * 2.3283064365386963e-10);
  return radius * (odd ? sin(angle) : cos(angle)) * deviation + mean;
}

// Element i of a draw of normal numbers; see random_word.
template <class T> __device__ T normal_element(int64 seed, int64 step, int64 offset, uint32 stream, int64 i,
                                               int64 row, T mean, T deviation) {
  uint32 pair, word = random_word(seed, step, offset, stream, i, row, &pair);
  bool odd = (uint64(offset) * uint64(row) + uint64(i)) % 2;
  return random_normal<T>(word, pair, odd, mean, deviation);
}
