// The largest entries of windows, channels last, and their gradients.
#pragma once
#include "primitives.hpp"

namespace gradatim {

// Indices (uint8) number the positions of a window; -1 where nobody reads them. With `relu` a
// window whose largest is not above zero has the number behind its last position.
void add_max_pool(Program& program, Array x, Array out, int indices, Window window,
                  std::vector<int64_t> size, bool relu);
void add_max_pool_gradient(Program& program, Array g, int indices, Array out, Window window,
                           std::vector<int64_t> size);

}  // namespace gradatim
