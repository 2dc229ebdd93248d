// Layer normalisation of rows (rows, n) and its gradient; block as `Column` says.
#include "common.cuh"

// The mean of a row and one over the root of its variance, in two passes.
__device__ T standard(const T* x, const Column& at, int64 n, T epsilon, T* parts, T* mean) {
  T total = T(0), squares = T(0);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) total += x[at.first + k];
  *mean = group_reduce<Sum>(total, parts) / T(n);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      T far = x[at.first + k] - *mean;
      squares += far * far;
    }
  return T(1) / sqrt(group_reduce<Sum>(squares, parts) / T(n) + epsilon);
}

// gamma (n) and beta (n) may be missing.
extern "C" __global__ void layer_norm(const T* x, const T* gamma, const T* beta, T* out, int64 rows, int64 n, T epsilon) {
  __shared__ T parts[GROUP_THREADS];
  Column at(rows, n, 1);
  T mean, inverse = standard(x, at, n, epsilon, parts, &mean);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      T y = (x[at.first + k] - mean) * inverse;
      if (gamma) y *= gamma[k];
      out[at.first + k] = beta ? y + beta[k] : y;
    }
}
EXPORT(layer_norm)

// r (g - mean(g) - y mean(g y)) with r = 1 / sqrt(variance + epsilon) and y = layer_norm(x).
extern "C" __global__ void layer_norm_gradient(const T* g, const T* x, T* out, int64 rows, int64 n, T epsilon) {
  __shared__ T parts[GROUP_THREADS];
  Column at(rows, n, 1);
  T mean, inverse = standard(x, at, n, epsilon, parts, &mean), slope = T(0), level = T(0);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      level += g[at.first + k];
      slope += g[at.first + k] * ((x[at.first + k] - mean) * inverse);
    }
  level = group_reduce<Sum>(level, parts) / T(n);
  slope = group_reduce<Sum>(slope, parts) / T(n);
  if (at.inside)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      T y = (x[at.first + k] - mean) * inverse;
      out[at.first + k] = (g[at.first + k] - level - y * slope) * inverse;
    }
}
EXPORT(layer_norm_gradient)
