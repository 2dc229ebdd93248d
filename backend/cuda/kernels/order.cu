// Where the largest and smallest entries are, the k largest, and cumulative sums.
#include "common.cuh"

struct Found {
  T value;
  int64 index;                                           // -1: none
};

// Whether a stands before b: NaN first, then by value, then the lowest index.
template <bool LARGEST> __device__ bool before(Found a, Found b) {
  if (a.index < 0 || b.index < 0) return b.index < 0 && a.index >= 0;
  bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan;
  if (a_nan || a.value == b.value) return a.index < b.index;
  return LARGEST ? a.value > b.value : a.value < b.value;
}

// The first of a group's, in every one of its threads.
template <bool LARGEST> __device__ Found first_of_group(Found x, T* values, int64* indices) {
  unsigned place = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  __syncthreads();
  values[place] = x.value;
  indices[place] = x.index;
  for (unsigned half = blockDim.y / 2; half; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) {
      unsigned other = place + half * blockDim.x;
      Found b{values[other], indices[other]};
      if (before<LARGEST>(b, x)) x = b;
      values[place] = x.value;
      indices[place] = x.index;
    }
  }
  __syncthreads();
  place = threadIdx.z * blockDim.y * blockDim.x + threadIdx.x;
  return {values[place], indices[place]};
}

template <bool LARGEST> __device__ void position(const T* x, int64* out, int64 outer, int64 n, int64 inner) {
  __shared__ T values[GROUP_THREADS];
  __shared__ int64 indices[GROUP_THREADS];
  Column at(outer, n, inner);
  Found best{T(0), -1};
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      Found next{x[at.first + k * inner], k};
      if (before<LARGEST>(next, best)) best = next;
    }
  best = first_of_group<LARGEST>(best, values, indices);
  if (at.inside && threadIdx.y == 0) out[at.outer * inner + at.column] = best.index;
}

extern "C" __global__ void argmax(const T* x, int64* out, int64 outer, int64 n, int64 inner) {
  position<true>(x, out, outer, n, inner);
}
EXPORT(argmax)

extern "C" __global__ void argmin(const T* x, int64* out, int64 outer, int64 n, int64 inner) {
  position<false>(x, out, outer, n, inner);
}
EXPORT(argmin)

// The k largest of each row and where they are: each is the first of those behind the one before it.
extern "C" __global__ void top_k(const T* x, T* out, int64* where, int64 rows, int64 n, int64 k) {
  __shared__ T values[GROUP_THREADS];
  __shared__ int64 indices[GROUP_THREADS];
  Column at(rows, n, 1);
  Found last{T(0), -1};
  for (int64 place = 0; place < k; ++place) {
    Found best{T(0), -1};
    if (at.inside)
      for (int64 i = threadIdx.y; i < n; i += blockDim.y) {
        Found next{x[at.first + i], i};
        if ((last.index < 0 || before<true>(last, next)) && before<true>(next, best)) best = next;
      }
    last = first_of_group<true>(best, values, indices);
    if (at.inside && threadIdx.y == 0) {
      out[at.outer * k + place] = last.value;
      where[at.outer * k + place] = last.index;
    }
  }
}
EXPORT(top_k)

// Sums of T up to each entry of the middle axis, or from each on, in A.
extern "C" __global__ void cumulative_sums(const T* x, A* out, int64 outer, int64 n, int64 inner, int reverse) {
  __shared__ A parts[GROUP_THREADS];
  Column at(outer, n, inner);
  A* mine = parts + (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  A before = A(0);
  for (int64 begin = 0; begin < n; begin += blockDim.y) {
    int64 k = begin + threadIdx.y, place = at.first + (reverse ? n - 1 - k : k) * inner;
    bool here = at.inside && k < n;
    A sum = here ? A(x[place]) : A(0);
    for (int step = 1; step < int(blockDim.y); step *= 2) {      // Hillis and Steele, 1986
      __syncthreads();
      *mine = sum;
      __syncthreads();
      if (int(threadIdx.y) >= step) sum += mine[-step * int(blockDim.x)];
    }
    if (here) out[place] = before + sum;
    __syncthreads();
    *mine = sum;
    __syncthreads();
    before += parts[(threadIdx.z * blockDim.y + blockDim.y - 1) * blockDim.x + threadIdx.x];
  }
}
EXPORT(cumulative_sums)
