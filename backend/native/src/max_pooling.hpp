// The largest entries of windows, channels last, and their gradients.
#pragma once
#include "primitives.hpp"

namespace gradatim {

// Indices (uint8) number the positions of a window; -1 where nobody reads them, and only then may
// the ReLU of the result be taken, too.
void add_max_pool(Program& program, Array x, Array out, int indices, Window window,
                  std::vector<int64_t> size, bool relu);
void add_max_pool_gradient(Program& program, Array g, int indices, Array out, Window window,
                           std::vector<int64_t> size);

}  // namespace gradatim
