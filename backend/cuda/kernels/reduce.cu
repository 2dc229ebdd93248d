// Reductions of T to A over the middle axis of (outer, n, inner); block (x, y, z) as `Column` says.
#include "common.cuh"

// Part blockIdx.y of the n, `each` elements: to out (outer, parts, inner), times `scale`.
template <class How, class Element>
__device__ void reduce(Element element, A* out, int64 outer, int64 n, int64 inner, int64 each, A scale) {
  __shared__ A parts[GROUP_THREADS];
  Column at(outer, n, inner);
  int64 begin = blockIdx.y * each, end = begin + each < n ? begin + each : n;
  A total = How::empty(A(0));
  if (at.inside)
    for (int64 k = begin + threadIdx.y; k < end; k += blockDim.y)
      total = How::join(total, element(at.first + k * inner, k));
  total = group_reduce<How>(total, parts);
  if (at.inside && threadIdx.y == 0) out[(at.outer * gridDim.y + blockIdx.y) * inner + at.column] = total * scale;
}

struct Plain {
  const T* x;
  __device__ A operator()(int64 i, int64) const { return A(x[i]); }
};

#define REDUCE(name, How)                                                                           \
  extern "C" __global__ void name(const T* x, A* out, int64 outer, int64 n, int64 inner, int64 each, A scale) { \
    reduce<How>(Plain{x}, out, outer, n, inner, each, scale);                                       \
  }                                                                                                 \
  EXPORT(name)
REDUCE(reduce_sum, Sum)
REDUCE(reduce_prod, Product)
REDUCE(reduce_max, Max)
REDUCE(reduce_min, Min)
