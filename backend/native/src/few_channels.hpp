// Convolutions of images of few channels, with the max-pooling that follows: nothing of the size
// before pooling is written, neither forward nor back.
#pragma once
#include "primitives.hpp"

namespace gradatim {

// Whether these sizes are served: kernel (rows, columns, in, out) of unit stride, and pooling over
// pool x pool pixels (1: none) from the first one on.
bool few_channels_fit(const Array& kernel, const Window& window, int64_t groups, int64_t pool);
// out = max over windows of convolution(x, kernel) + bias; indices and bias may be -1.
void add_few_channels(Program& program, Array x, Array kernel, Array out, int indices, int bias,
                      Window window, int64_t pool, bool relu);
// g and indices are of the pooled size; bias_gradient may be -1.
void add_few_channels_kernel_gradient(Program& program, Array x, Array g, int indices, Array out,
                                      int bias_gradient, Window window, int64_t pool);

}  // namespace gradatim
