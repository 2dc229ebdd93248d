// Means over windows, channels last, and their gradients.
#pragma once
#include "primitives.hpp"

namespace gradatim {

// Padding counts neither in the sum nor in the number of elements.
void add_average_pool(Program& program, Array x, Array out, Window window,
                      std::vector<int64_t> size);
void add_average_pool_gradient(Program& program, Array g, Array out, Window window,
                               std::vector<int64_t> size);

}  // namespace gradatim
