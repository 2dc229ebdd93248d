// Softmax cross-entropy of rows of logits (rows, n): losses and gradients; block as `Column` says.
// Labels L are class numbers, negative ones to be ignored, or with DENSE distributions (rows, n).
#include "common.cuh"

// The target of class k: t = (1 - a) label + a / n with label smoothing a.
__device__ T target(const L* labels, int64 row, int64 k, int64 n, T keep, T spread) {
#if DENSE
  return T(labels[row * n + k]) * keep + spread;
#else
  return (int64(labels[row]) == k ? keep : T(0)) + spread;
#endif
}

// What a row's gradient is made of: the largest logit, the sum of exponentials, the sum of targets.
struct Row {
  T top, total, mass;
  bool counted;
  __device__ Row(const T* x, const L* labels, const Column& at, int64 n, T keep, T spread, T* parts,
                 Complaint* wrong, int number) {
    T most = lowest_of(T(0)), sum = T(0), weight = T(0);
    counted = at.inside;
#if !DENSE
    if (at.inside && int64(labels[at.outer]) >= n) complain(wrong, number, int64(labels[at.outer]), at.outer);
    if (at.inside && int64(labels[at.outer]) < 0) counted = false;
#endif
    if (at.inside)                                       // one pass: Milakov and Gimelshein, 2018
      for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
        T value = x[at.first + k];
        if (value > most) {
          sum = sum * exp(most - value) + exp(value - value);
          most = value;
        } else if (value != lowest_of(value)) {           // nothing comes of minus infinity
          sum += exp(value - most);
        }
#if DENSE
        weight += target(labels, at.outer, k, n, keep, spread);
#endif
      }
    top = group_reduce<Max>(most, parts);
    total = group_reduce<Sum>(sum == T(0) ? sum : sum * exp(most - top), parts);
    mass = DENSE ? group_reduce<Sum>(weight, parts) : T(1);
  }
};

#define ARGUMENTS const T *x, const L *labels, T *loss, const T *g, T *gradient, int64 rows, int64 n, T keep, T spread, Complaint *wrong, int number

// -sum over k of t[k] log softmax(x)[k] of each row.
__device__ void write_loss(const Row& row, const Column& at, const T* x, const L* labels, T* loss, int64 n, T keep,
                           T spread, T* parts) {
  T normalizer = log(row.total), cost = T(0);
  if (row.counted)
    for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
      T t = target(labels, at.outer, k, n, keep, spread);
      if (t != T(0)) cost += t * (normalizer - (x[at.first + k] - row.top));     // an impossible class may cost inf
    }
  cost = group_reduce<Sum>(cost, parts);
  if (at.inside && threadIdx.y == 0) loss[at.outer] = cost;
}

// g * (softmax(x) * sum(t) - t).
__device__ void write_gradient(const Row& row, const Column& at, const T* x, const L* labels, const T* g, T* gradient,
                               int64 n, T keep, T spread) {
  if (!at.inside) return;
  T slope = g[at.outer];
  for (int64 k = threadIdx.y; k < n; k += blockDim.y) {
    T p = exp(x[at.first + k] - row.top) / row.total;
    T part = p * row.mass - target(labels, at.outer, k, n, keep, spread);
    gradient[at.first + k] = (row.counted ? part : T(0)) * slope;
  }
}

extern "C" __global__ void softmax_cross_entropy(ARGUMENTS) {
  __shared__ T parts[GROUP_THREADS];
  Column at(rows, n, 1);
  Row row(x, labels, at, n, keep, spread, parts, wrong, number);
  if (loss) write_loss(row, at, x, labels, loss, n, keep, spread, parts);
  if (gradient) write_gradient(row, at, x, labels, g, gradient, n, keep, spread);
}
EXPORT(softmax_cross_entropy)
