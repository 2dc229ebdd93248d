// Matrix products in float64, which oneDNN has no fast kernels for.
#pragma once
#include <string>

#include "primitives.hpp"

namespace gradatim {

// out = activation(x @ y + bias) for matrices, or batches of them, with strides; bias is -1 or the
// number of a value (columns,).
void add_matmul64(Program& program, Matrix x, Matrix y, Matrix out, int bias,
                  const std::string& activation);

}  // namespace gradatim
