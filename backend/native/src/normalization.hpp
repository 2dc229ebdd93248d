// Batch and layer normalisation, and sums over everything but the channels.
#pragma once
#include "program.hpp"

namespace gradatim {

// out = sum over rows of w[row / repeat] * x, for x (rows, channels); weights is -1 for ones.
// Weighted sums over rows of x, or of (x - mean)^2 where there is a mean.
void add_channel_sums(Program& program, int x, int mean, int weights, int out, int64_t rows,
                      int64_t channels, int64_t repeat);
// The same two sums of x from its moments: for each part of it a number near its mean, the weighted
// sums of the differences from that and of their squares, and the weights' sum.
void add_moment_sums(Program& program, int moments, int mean, int out);
// out = (x - mean) * gamma / sqrt(variance + epsilon) + beta.
void add_batch_norm(Program& program, int x, int mean, int variance, int gamma, int beta, int out,
                    int64_t rows, int64_t channels, double epsilon);
// Sums over rows of g and of g * (x - mean).
void add_batch_norm_sums(Program& program, int g, int x, int mean, int total, int moment,
                         int64_t rows, int64_t channels);
// Rows of n; gamma and beta (n,) may be -1.
void add_layer_norm(Program& program, int x, int gamma, int beta, int out, int64_t rows, int64_t n,
                    double epsilon);
void add_layer_norm_gradient(Program& program, int g, int x, int out, int64_t rows, int64_t n,
                             double epsilon);

}  // namespace gradatim
