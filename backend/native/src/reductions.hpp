// Sums, largest and smallest entries along neighbouring axes.
#pragma once
#include <string>

#include "program.hpp"

namespace gradatim {

// x seen as (outer, n, inner) -> (outer, inner); kind is "sum", "max" or "min".
// With weights (n,) each of the n entries is multiplied by its weight first.
void add_reduce(Program& program, const std::string& kind, int x, int out, int64_t outer, int64_t n,
                int64_t inner, double scale, int weights);

}  // namespace gradatim
