// Convolutions in float64 with one input channel per group: too little for a matrix product.
#pragma once
#include "sliding.hpp"

namespace gradatim {

// Values by number; the kernel is (*window, 1, filters), and bias is -1 for none.
void add_depthwise64(Program& program, Sliding s, int x, int kernel, int out, int bias, bool relu);
void add_depthwise64_data_gradient(Program& program, Sliding s, int g, int kernel, int out);
void add_depthwise64_kernel_gradient(Program& program, Sliding s, int x, int g, int out);

}  // namespace gradatim
