// Our own kernels: sums in a fixed order, losses, pooling, gathering, products in float64.
#pragma once
#include <string>
#include <vector>

#include "primitives.hpp"
#include "program.hpp"

namespace gradatim {

// x seen as (outer, n, inner) -> (outer, inner); kind is "sum", "max" or "min".
// With weights (n,) each of the n entries is multiplied by its weight first.
void add_reduce(Program& program, const std::string& kind, int x, int out, int64_t outer, int64_t n,
                int64_t inner, double scale, int weights);
// Along rows of (rows, n): "softmax", "log_softmax", "logsumexp"; "argmax" and "argmin" give int64.
void add_rows(Program& program, const std::string& kind, int x, int out, int64_t rows, int64_t n);
// labels (rows,) int64, negative ones are ignored; loss (rows,).
void add_cross_entropy(Program& program, int logits, int labels, int loss, int64_t rows, int64_t n,
                       double smoothing);
// gradient (rows, n) = g (rows,) * (softmax(logits) - target).
void add_cross_entropy_gradient(Program& program, int g, int logits, int labels, int out,
                                int64_t rows, int64_t n, double smoothing);
// Channels last; indices (uint8) number the positions of a window; -1 where nobody reads them,
// and only then may the ReLU of the result be taken, too.
void add_max_pool(Program& program, Array x, Array out, int indices, Window window,
                  std::vector<int64_t> size, bool relu);
void add_max_pool_gradient(Program& program, Array g, int indices, Array out, Window window,
                           std::vector<int64_t> size);
// rows of (m, width) by number; out (n, width). Numbers out of range raise when the program runs.
void add_gather(Program& program, int x, int indices, int out, int64_t n, int64_t m, int64_t width);
void add_scatter_add(Program& program, int indices, int values, int out, int64_t n, int64_t m,
                     int64_t width);
// float64: out = x @ y for 2-D matrices with strides.
void add_matmul64(Program& program, Matrix x, Matrix y, Matrix out);
void add_copy(Program& program, int from, int to);

}  // namespace gradatim
