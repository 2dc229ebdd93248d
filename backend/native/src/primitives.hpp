// Steps that oneDNN computes: matrix products and convolutions with what is fused into them.
#pragma once
#include <string>
#include <vector>

#include "program.hpp"

namespace gradatim {

// Whether the processor multiplies bfloat16 numbers; where oneDNN emulates that, float32 is faster.
bool has_bfloat16();

// A matrix or batch of matrices: value, offset and strides in elements; rows and columns come last.
struct Matrix {
  int value;
  int64_t offset;
  std::vector<int64_t> shape, strides;
};

// out = activation(x @ y + bias); bias is -1 or the number of a value (columns,).
void add_matmul(Program& program, Matrix x, Matrix y, Matrix out, int bias,
                const std::string& activation);

// A value seen in a shape: a reshape moves nothing, so a value's own shape may be another one.
struct Array {
  int value;
  std::vector<int64_t> shape;
  int64_t size() const {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return n;
  }
};

struct Window {   // per spatial axis
  std::vector<int64_t> strides, dilation, low, high;
};

// out = activation(convolution(x, kernel) + bias), channels last, kernel (*window, in, out).
// With `summed` the outputs' moments are taken while they are in registers, if that can be: the
// result is then a value (parts, 4, out) for add_moment_sums, else -1. Each image counts with its
// weight; -1 for ones.
int add_convolution(Program& program, Array x, Array kernel, Array out, int bias, Window window,
                    int64_t groups, const std::string& activation, bool summed, int weights);
// The same, and of its outputs, shaped as `between`, the largest of every 2x2 with their indices,
// as max_pool has them (-1: nobody reads them); false where no kernel does both at once.
bool add_convolution_pool(Program& program, Array x, Array kernel, Array between, Array out,
                          int indices, int bias, Window window, int64_t groups, bool relu);
void add_convolution_data_gradient(Program& program, Array g, Array kernel, Array out,
                                   Window window, int64_t groups);
// bias_gradient is -1 or a value (filters,): the sum of g over everything but its last axis.
void add_convolution_kernel_gradient(Program& program, Array x, Array g, Array out, int bias_gradient,
                                     Window window, int64_t groups);

}  // namespace gradatim
