// Softmax and its relatives over the middle axis of (outer, n, inner); block as `Column` says.
#include "common.cuh"

// The largest number of a column, or 0 where it is infinite, and the sum of exponentials of the rest.
__device__ T exponentials(const T* x, const Column& at, int64 n, int64 inner, T* parts, T* top) {
  T most = lowest_of(T(0)), total = T(0);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) most = larger(most, x[at.first + k * inner]);
  most = group_reduce<Max>(most, parts);
  *top = finite(most) ? most : T(0);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) total += exp(x[at.first + k * inner] - *top);
  return group_reduce<Sum>(total, parts);
}

extern "C" __global__ void softmax(const T* x, T* out, int64 outer, int64 n, int64 inner) {
  __shared__ T parts[GROUP_THREADS];
  Column at(outer, n, inner);
  T top, total = exponentials(x, at, n, inner, parts, &top);
  if (total == T(0)) total = T(1);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y)
      out[at.first + k * inner] = exp(x[at.first + k * inner] - top) / total;
}
EXPORT(softmax)

extern "C" __global__ void log_softmax(const T* x, T* out, int64 outer, int64 n, int64 inner) {
  __shared__ T parts[GROUP_THREADS];
  Column at(outer, n, inner);
  T top, total = exponentials(x, at, n, inner, parts, &top);
  T less = total == T(0) ? T(0) : log(total);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y)
      out[at.first + k * inner] = x[at.first + k * inner] - top - less;
}
EXPORT(log_softmax)

extern "C" __global__ void logsumexp(const T* x, T* out, int64 outer, int64 n, int64 inner) {
  __shared__ T parts[GROUP_THREADS];
  Column at(outer, n, inner);
  T top, total = exponentials(x, at, n, inner, parts, &top);
  if (at.inside && threadIdx.y == 0)
    out[at.outer * inner + at.column] = total == T(0) ? lowest_of(total) : log(total) + top;
}
EXPORT(logsumexp)
