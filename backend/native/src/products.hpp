// Small products of a few rows with one packed matrix, for loops that multiply it again and again.
#pragma once
#include <cstdint>
#include <vector>

namespace gradatim {

// A matrix (k, n) cut into panels of columns that lie as the processor's registers read them.
class Packed {
 public:
  // How many floats the memory for one must hold.
  static int64_t size(int64_t k, int64_t n);
  // Element (i, j) of the matrix is at from[i * row + j * column].
  void pack(float* memory, const float* from, int64_t k, int64_t n, int64_t row, int64_t column);
  // out[i] = add[i] + x[i] @ matrix for each row; add may be null. A row's result does not depend
  // on the others: its terms are added in the order of k.
  void multiply(int64_t rows, const float* const* x, const float* const* add,
                float* const* out) const;

 private:
  float* memory_ = nullptr;
  int64_t k_ = 0, n_ = 0;
};

}  // namespace gradatim
