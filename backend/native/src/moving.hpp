// Steps that move elements and compute next to nothing: copies of parts, entries by number.
#pragma once
#include "elementwise.hpp"
#include "program.hpp"

namespace gradatim {

// Copies a shape's elements between two places that have the same dtype, each with its strides.
void add_move(Program& program, const std::string& name, std::vector<int64_t> shape, Operand from,
              Operand to);
void add_copy(Program& program, int from, int to);
void add_fill(Program& program, int out, double number);
// Rows of x (m, width) by number; out (n, width). Numbers out of range raise when the program runs.
void add_gather(Program& program, int x, int indices, int out, int64_t n, int64_t m, int64_t width);
// The rows values (n, width) added up at their places in zeros (m, width); floats only.
void add_scatter_add(Program& program, int indices, int values, int out, int64_t n, int64_t m,
                     int64_t width);
// x (outer, n, inner) -> sums up to each entry along n, or from each on.
void add_cumsum(Program& program, int x, int out, int64_t outer, int64_t n, int64_t inner,
                bool reverse);
// indices (outer, m, inner) int64 along the middle axis of x (outer, n, inner). Numbers out of
// range raise when the program runs.
void add_take_along(Program& program, int x, int indices, int out, int64_t outer, int64_t n,
                    int64_t m, int64_t inner);
// The values (outer, m, inner) added up at their places in zeros (outer, n, inner).
void add_put_along(Program& program, int indices, int values, int out, int64_t outer, int64_t n,
                   int64_t m, int64_t inner);
// out (n, depth): ones where the indices (int64) say, rows of zeros for those out of range.
void add_one_hot(Program& program, int indices, int out, int64_t n, int64_t depth);
// out (batch, steps) of bool: steps below the lengths (int64).
void add_sequence_mask(Program& program, int lengths, int out, int64_t batch, int64_t steps);
// Each row's first steps backwards, for x (batch, steps, width).
void add_reverse_sequence(Program& program, int x, int lengths, int out, int64_t batch,
                          int64_t steps, int64_t width);

}  // namespace gradatim
