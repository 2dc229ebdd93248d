// Indicators, and rows of unequal length; I are whole numbers.
#include "common.cuh"

// Ones where the indices say; rows of zeros for those out of range.
extern "C" __global__ void one_hot(const I* indices, T* out, int64 count, int64 depth) {
  EACH(count * depth) out[i] = T(int64(indices[i / depth]) == i % depth);
}
EXPORT_FLAT(one_hot)

// Which of (batch, steps) are within a row's length.
extern "C" __global__ void sequence_mask(const I* lengths, T* out, int64 batch, int64 steps) {
  EACH(batch * steps) out[i] = T(i % steps < int64(lengths[i / steps]));
}
EXPORT_FLAT(sequence_mask)

// The first steps of each row of x (batch, steps, inner) backwards; padding stays where it is.
extern "C" __global__ void reverse_sequence(const T* x, const I* lengths, T* out, int64 batch, int64 steps,
                                            int64 inner) {
  EACH(batch * steps * inner) {
    int64 step = i / inner % steps, row = i / inner / steps, length = int64(lengths[row]);
    if (length > steps) length = steps;
    if (step < length) step = length - 1 - step;
    out[i] = x[(row * steps + step) * inner + i % inner];
  }
}
EXPORT_FLAT(reverse_sequence)
