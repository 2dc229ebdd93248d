// Few linear functions of the rows of a tall table, in float64 and at the speed of memory.
#pragma once
#include "gram.hpp"

namespace gradatim {

// More functions than these are faster as a product of matrices.
constexpr int64_t AFFINE_FUNCTIONS = 8;

// out (n, t) = x @ kernel' + bias in float64. Rows of x (n, p) lie whole; kernel is (t, p). A row's
// result does not depend on the others.
void affine(const Table& x, const double* kernel, const double* bias, int64_t n, int64_t p,
            int64_t t, double* out);
// The same as a step, but with the kernel (p, t); x is float32 or float64, the rest float64.
void add_affine(Program& program, int x, int kernel, int bias, int out);

}  // namespace gradatim
