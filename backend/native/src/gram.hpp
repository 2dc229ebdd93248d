// The Gram matrix of shifted, weighted rows, in one pass over them: exact least squares lives on it.
#pragma once
#include <cstdint>

#include "program.hpp"

namespace gradatim {

// A table of float32 or float64; strides count elements.
struct Table {
  const void* data;
  bool single;                    // float32
  int64_t row, column;            // strides
};

// Columns up to which tiles in registers are the fastest way; beyond, a BLAS is.
constexpr int64_t GRAM_COLUMNS = 512;

// out (1 + p + t)^2 = A'A for the rows A = root * [1, x - centre, y - centre]. x is (n, p), y (n, t)
// float64 without gaps, centre (p + t,), root (n,); root may be null. Sums have a fixed order.
void gram(const Table& x, const double* y, const double* centre, const double* root, int64_t n,
          int64_t p, int64_t t, double* out);
// The same as a step; x is float32 or float64, the rest float64, root -1 where there is none.
void add_gram(Program& program, int x, int y, int centre, int root, int out);

}  // namespace gradatim
