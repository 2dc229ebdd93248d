// Reading and writing by positions; I are whole numbers. Positions below 0 count from the end, and one
// outside the axis is complained about.
#include "common.cuh"

// The position from 0 on that stands at a place of the indices, or -1.
__device__ int64 placed(const I* indices, int64 place, int64 n, Complaint* wrong, int number) {
  int64 index = int64(indices[place]), k = index < 0 ? index + n : index;
  if (k >= 0 && k < n) return k;
  complain(wrong, number, index, place);
  return -1;
}

// x (outer, n, inner), indices (m), out (outer, m, inner).
extern "C" __global__ void gather(const T* x, const I* indices, T* out, int64 outer, int64 n, int64 m, int64 inner,
                                  Complaint* wrong, int number) {
  EACH(outer * m * inner) {
    int64 row = i / inner, k = placed(indices, row % m, n, wrong, number);
    out[i] = k < 0 ? T(0) : x[(row / m * n + k) * inner + i % inner];
  }
}
EXPORT_FLAT(gather)

// x (outer, n, inner), indices and out (outer, m, inner).
extern "C" __global__ void take_along(const T* x, const I* indices, T* out, int64 outer, int64 n, int64 m,
                                      int64 inner, Complaint* wrong, int number) {
  EACH(outer * m * inner) {
    int64 k = placed(indices, i, n, wrong, number);
    out[i] = k < 0 ? T(0) : x[(i / inner / m * n + k) * inner + i % inner];
  }
}
EXPORT_FLAT(take_along)

#define COMPLAIN(count) EACH(count) placed(indices, i, n, wrong, number);

// Indices and values (outer, m, inner) added up in their order at out (outer, n, inner).
extern "C" __global__ void put_along(const I* indices, const T* values, T* out, int64 outer, int64 n, int64 m,
                                     int64 inner, Complaint* wrong, int number) {
  COMPLAIN(outer * m * inner)
  EACH(outer * n * inner) {
    int64 row = i / inner, first = row / n * m * inner + i % inner;
    T total = T(0);
    for (int64 k = 0; k < m; ++k) {
      int64 index = int64(indices[first + k * inner]);
      if ((index < 0 ? index + n : index) == row % n) total += values[first + k * inner];
    }
    out[i] = total;
  }
}
EXPORT_FLAT(put_along)

// Few indices (m): values (outer, m, inner) added up in their order at out (outer, n, inner).
extern "C" __global__ void scatter_few(const I* indices, const T* values, T* out, int64 outer, int64 n, int64 m,
                                       int64 inner, Complaint* wrong, int number) {
  COMPLAIN(m)
  EACH(outer * n * inner) {
    int64 row = i / inner, first = row / n * m * inner + i % inner;
    T total = T(0);
    for (int64 k = 0; k < m; ++k) {
      int64 index = int64(indices[k]);
      if ((index < 0 ? index + n : index) == row % n) total += values[first + k * inner];
    }
    out[i] = total;
  }
}
EXPORT_FLAT(scatter_few)

// ---- many indices: their order by row, found without atomics, so that sums always have one order ----

// How often each row occurs in each of the chunks of `each` indices: counts (n, chunks), zero before.
extern "C" __global__ void count_rows(const I* indices, int* counts, int64 n, int64 m, int chunks, int64 each,
                                      Complaint* wrong, int number) {
  EACH(chunks)
    for (int64 j = i * each; j < (i + 1) * each && j < m; ++j) {
      int64 row = placed(indices, j, n, wrong, number);
      if (row >= 0) ++counts[row * chunks + i];
    }
}
EXPORT_FLAT(count_rows)

// Counts become the sums of all before them; one block.
extern "C" __global__ void starts_of_rows(int* counts, int64 count) {
  __shared__ int parts[GROUP_THREADS];
  int before = 0;
  for (int64 begin = 0; begin < count; begin += blockDim.x) {
    int64 i = begin + threadIdx.x;
    int own = i < count ? counts[i] : 0, sum = own;
    for (unsigned step = 1; step < blockDim.x; step *= 2) {
      __syncthreads();
      parts[threadIdx.x] = sum;
      __syncthreads();
      if (threadIdx.x >= step) sum += parts[threadIdx.x - step];
    }
    if (i < count) counts[i] = before + sum - own;
    __syncthreads();
    parts[threadIdx.x] = sum;
    __syncthreads();
    before += parts[blockDim.x - 1];
  }
}
EXPORT(starts_of_rows)

// The numbers of the indices sorted by row, in their order; each start becomes an end.
extern "C" __global__ void order_of_rows(const I* indices, int* starts, int* order, int64 n, int64 m, int chunks,
                                         int64 each) {
  EACH(chunks)
    for (int64 j = i * each; j < (i + 1) * each && j < m; ++j) {
      int64 row = int64(indices[j]);
      if (row < 0) row += n;
      if (row >= 0 && row < n) order[starts[row * chunks + i]++] = int(j);
    }
}
EXPORT_FLAT(order_of_rows)

// values (outer, m, inner) added up at out (outer, n, inner): a group of threads for each number.
extern "C" __global__ void scatter_rows(const int* ends, const int* order, const T* values, T* out, int64 outer,
                                        int64 n, int64 m, int64 inner, int chunks) {
  __shared__ T parts[GROUP_THREADS];
  Column at(outer * n, 1, inner);
  int64 row = at.outer % n, first = at.outer / n * m * inner + at.column;
  T total = T(0);
  if (at.inside) {
    int begin = row ? ends[row * chunks - 1] : 0, end = ends[(row + 1) * chunks - 1];
    for (int k = begin + threadIdx.y; k < end; k += blockDim.y) total += values[first + order[k] * inner];
  }
  total = group_reduce<Sum>(total, parts);
  if (at.inside && threadIdx.y == 0) out[at.first] = total;
}
EXPORT(scatter_rows)
