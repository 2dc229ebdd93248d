// Sums over samples, each with its weight, and sums of squared distances from a mean.
#include "common.cuh"

// x (1, n, inner) of type F with `per` of the n to a weight; without weights all weigh the same. With a mean
// (inner) it is the squared distance from it that is added up. Part blockIdx.y to out (parts, inner).
extern "C" __global__ void weighted_sums(const F* x, const T* mean, const T* weights, T* out, int64 n,
                                         int64 inner, int64 per, int64 each) {
  __shared__ T parts[GROUP_THREADS];
  Column at(1, n, inner);
  int64 begin = blockIdx.y * each, end = begin + each < n ? begin + each : n;
  T total = T(0), centre = mean && at.inside ? mean[at.column] : T(0);
  if (at.inside)
    for (int64 k = begin + threadIdx.y; k < end; k += blockDim.y) {
      T value = widen(x[at.first + k * inner]);
      if (mean) value = (value - centre) * (value - centre);
      total += weights ? value * weights[k / per] : value;
    }
  total = group_reduce<Sum>(total, parts);
  if (at.inside && threadIdx.y == 0) out[blockIdx.y * inner + at.column] = total;
}
EXPORT(weighted_sums)

// The mean squared distance from the mean over the middle axis of (outer, n, inner), in two passes.
extern "C" __global__ void variance(const F* x, T* out, int64 outer, int64 n, int64 inner) {
  __shared__ T parts[GROUP_THREADS];
  Column at(outer, n, inner);
  T total = T(0), squares = T(0);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) total += widen(x[at.first + k * inner]);
  T mean = group_reduce<Sum>(total, parts) / T(n);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      T far = widen(x[at.first + k * inner]) - mean;
      squares += far * far;
    }
  squares = group_reduce<Sum>(squares, parts);
  if (at.inside && threadIdx.y == 0) out[at.outer * inner + at.column] = squares / T(n);
}
EXPORT(variance)
