// Rows of numbers: softmax and its kin, and the cross-entropy of logits.
#pragma once
#include <string>

#include "program.hpp"

namespace gradatim {

// Along rows of (rows, n): "softmax", "log_softmax", "logsumexp"; "argmax" and "argmin" give int64.
void add_rows(Program& program, const std::string& kind, int x, int out, int64_t rows, int64_t n);
// labels (rows,) int64, negative ones are ignored; loss (rows,).
void add_cross_entropy(Program& program, int logits, int labels, int loss, int64_t rows, int64_t n,
                       double smoothing);
// gradient (rows, n) = g (rows,) * (softmax(logits) - target).
void add_cross_entropy_gradient(Program& program, int g, int logits, int labels, int out,
                                int64_t rows, int64_t n, double smoothing);

}  // namespace gradatim
