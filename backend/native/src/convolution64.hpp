// Convolutions in float64, which oneDNN has no fast kernels for; arguments as in primitives.hpp.
#pragma once
#include <string>

#include "primitives.hpp"

namespace gradatim {

void add_convolution64(Program& program, Array x, Array kernel, Array out, int bias, Window window,
                       int64_t groups, const std::string& activation);
void add_convolution64_data_gradient(Program& program, Array g, Array kernel, Array out,
                                     Window window, int64_t groups);
void add_convolution64_kernel_gradient(Program& program, Array x, Array g, Array out,
                                       Window window, int64_t groups);

}  // namespace gradatim
