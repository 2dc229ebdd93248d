// Winograd's F(4x4, 3x3): 3x3 convolutions of unit stride with a quarter of the multiplications.
#pragma once
#include "primitives.hpp"

namespace gradatim {

// Whether this processor and these sizes are served; kernel (3, 3, in, out) of one group.
bool winograd_fits(const Array& x, const Array& kernel, const Array& out, const Window& window,
                   int64_t groups);
int add_winograd(Program& program, Array x, Array kernel, Array out, int bias, Window window,
                 const std::string& activation, bool summed, int weights, double flops);
// Of the outputs, shaped as `between`, only the largest of every 2x2 are written, with their indices
// unless these are -1.
void add_winograd_pool(Program& program, Array x, Array kernel, Array between, Array out,
                       int indices, int bias, Window window, bool relu);
void add_winograd_data_gradient(Program& program, Array g, Array kernel, Array out, Window window,
                                double flops);
void add_winograd_kernel_gradient(Program& program, Array x, Array g, Array out, int bias_gradient,
                                  Window window, double flops);

}  // namespace gradatim
