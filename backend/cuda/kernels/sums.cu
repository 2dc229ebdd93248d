// Sums: what the blocks of a chain have added up, added up in the order of the blocks.
#include "common.cuh"

// Partial sums (blocks, columns) to one number for each column, or to one in all (size 1).
extern "C" __global__ void finish_sums(const T* partial, T* out, int blocks, int columns, int size) {
  __shared__ T parts[32];
  T all = T(0);
  for (int column = threadIdx.x; column < columns; column += blockDim.x) {
    T total = T(0);
    for (int b = 0; b < blocks; ++b) total += partial[int64(b) * columns + column];
    if (size > 1 || columns == 1) out[column] = total;
    all += total;
  }
  if (size > 1 || columns == 1) return;
  all = block_reduce<Sum>(all, parts);
  if (threadIdx.x == 0) out[0] = all;
}
EXPORT(finish_sums)
