// Winograd's F(4x4, 3x3): a tile of 6x6 inputs gives 4x4 outputs by 36 products, not 144.
// Lavin and Gray, Fast algorithms for convolutional neural networks (2015), section 4; the points
// 0, +-A, +-B, infinity are chosen for small rounding errors: 1.5 times those of the direct sum.
// Every output is the same sequence of operations in whatever batch or thread it is computed.
#include "winograd.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vectorised.hpp"

namespace gradatim {
namespace {

constexpr float A = 0.7f, B = 1.4f, A2 = A * A, B2 = B * B, A3 = A2 * A, B3 = B2 * B;
constexpr float N0 = A2 * B2, NA = 2 * A2 * (A2 - B2), NB = 2 * B2 * (B2 - A2);
constexpr int POINTS = 36;

#define APART __attribute__((noinline))     // its own registers

// Images (count, height, width, channels) cut into tiles of 4x4 outputs.
struct Tiles {
  int64_t count, height, width, channels;          // of the array that is read or written
  int64_t down, across;                            // tiles in an image
  int64_t top, left;                               // its rows and columns before the first tile
  int64_t size = 4;                                // its pixels along a tile; 2 if it is pooled
  int64_t all() const { return count * down * across; }
};

struct Job {
  Tiles in, out;                 // channels of both are multiples of 16
  bool relu = false, pooled = false;
  int64_t rows() const {         // tiles transformed at a time: what the second-level cache holds
    int64_t fit = 100000 / (POINTS * (in.channels + out.channels)) / 12 * 12;
    return std::clamp<int64_t>(fit, 12, 96);
  }
  int64_t plane(int64_t channels) const { return rows() * channels + 16; }
};

// Memory of a thread's own, kept from call to call.
float* scratch(int64_t floats) {
  static thread_local std::unique_ptr<Aligned> mine;
  if (!mine || mine->bytes < static_cast<size_t>(floats) * 4) {
    mine = std::make_unique<Aligned>(floats * 4);
    std::memset(mine->data, 0, floats * 4);
  }
  return reinterpret_cast<float*>(mine->data);
}

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace v4 {
constexpr int W = 16;
#include "winograd_kernels.hpp"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
constexpr int W = 8;
#include "winograd_kernels.hpp"
}
#pragma GCC pop_options

const auto run_forward = wide_registers() ? v4::forward : v3::forward;
const auto run_accumulate = wide_registers() ? v4::accumulate : v3::accumulate;
const auto run_transform = wide_registers() ? v4::transform_kernel : v3::transform_kernel;
const auto run_kernel_gradient = wide_registers() ? v4::kernel_gradient : v3::kernel_gradient;

Tiles tiles_of(const Array& x, const Array& tiled, int64_t top, int64_t left) {
  return {x.shape[0], x.shape[1], x.shape[2], x.shape[3],
          (tiled.shape[1] + 3) / 4, (tiled.shape[2] + 3) / 4, top, left};
}

const float* floats(char* const* at, int value) {
  return value < 0 ? nullptr : reinterpret_cast<const float*>(at[value]);
}

// A step that transforms a kernel; turned: mirrored, with inputs and outputs exchanged.
int add_transformed(Program& program, const Array& kernel, bool turned) {
  int64_t in = kernel.shape[2], out = kernel.shape[3], size = in * out;
  int u = program.value({POINTS * size}, "float32", Home::Arena);
  int source = kernel.value;
  bool before = program.once(program.fixed(source));
  if (turned) {
    int mirror = program.value({9 * size}, "float32", Home::Arena);
    program.step("mirror_kernel", {source, mirror}, [=](char* const* at) {
      const float* from = floats(at, source);
      float* to = reinterpret_cast<float*>(at[mirror]);
      for (int64_t p = 0; p < 9; p++)
        for (int64_t o = 0; o < out; o++)
          for (int64_t i = 0; i < in; i++)
            to[(p * out + o) * in + i] = from[(8 - p) * size + i * out + o];
    });
    source = mirror;
  }
  program.step("winograd_kernel", {source, u}, [=](char* const* at) {
    float* to = reinterpret_cast<float*>(at[u]);
    parallel(size, 4096, [&](int64_t begin, int64_t end) {
      run_transform(floats(at, source), size, to, begin, end);
    });
  });
  program.once(before);
  return u;
}

// With `summed` the result is a value: moments of as many tiles as are transformed at a time, so
// that they are the same for any number of threads.
int add_forward(Program& program, const std::string& name, const Job& job, int x, int u, int bias,
                int out, int indices, bool summed, int weights, double flops) {
  std::vector<int> uses{x, u, out};
  int64_t all = job.in.all(), rows = job.rows();
  int moments = summed ? program.value({(all + rows - 1) / rows, 4, job.out.channels}, "float32",
                                       Home::Arena) : -1;
  for (int value : {bias, indices, moments, weights})
    if (value >= 0) uses.push_back(value);
  program.step(name, uses, [=](char* const* at) {
    auto target = [&](int value) { return const_cast<float*>(floats(at, value)); };
    parallel(all, summed ? rows : 12, [&](int64_t begin, int64_t end) {
      run_forward(job, floats(at, x), floats(at, u), floats(at, bias), target(out),
                  reinterpret_cast<uint8_t*>(target(indices)), target(moments),
                  floats(at, weights), begin, end);
    });
  }, flops);
  return moments;
}

}  // namespace

bool winograd_fits(const Array& x, const Array& kernel, const Array& out, const Window& window,
                   int64_t groups) {
  auto ones = [](const std::vector<int64_t>& v) { return v == std::vector<int64_t>{1, 1}; };
  return groups == 1 && kernel.shape.size() == 4 && kernel.shape[0] == 3 && kernel.shape[1] == 3 &&
         ones(window.strides) && ones(window.dilation) && kernel.shape[2] % 16 == 0 &&
         kernel.shape[3] % 16 == 0 && kernel.shape[2] * kernel.shape[3] <= 128 * 128 &&
         out.shape[1] * out.shape[2] > 4 && x.size() && __builtin_cpu_supports("x86-64-v3");
}

int add_winograd(Program& program, Array x, Array kernel, Array out, int bias, Window window,
                 const std::string& activation, bool summed, int weights, double flops) {
  Job job{tiles_of(x, out, window.low[0], window.low[1]), tiles_of(out, out, 0, 0),
          activation == "relu"};
  return add_forward(program, "convolution", job, x.value, add_transformed(program, kernel, false),
                     bias, out.value, -1, summed, weights, flops);
}

void add_winograd_pool(Program& program, Array x, Array kernel, Array between, Array out,
                       int indices, int bias, Window window, bool relu) {
  Tiles pooled = tiles_of(out, between, 0, 0);
  pooled.size = 2;
  Job job{tiles_of(x, between, window.low[0], window.low[1]), pooled, relu, true};
  add_forward(program, "convolution,max_pool", job, x.value,
              add_transformed(program, kernel, false), bias, out.value, indices, false, -1,
              18.0 * between.size() * x.shape.back());
}

void add_winograd_data_gradient(Program& program, Array g, Array kernel, Array out, Window window,
                                double flops) {
  Job job{tiles_of(g, out, 2 - window.low[0], 2 - window.low[1]), tiles_of(out, out, 0, 0)};
  add_forward(program, "convolution_data_gradient", job, g.value,
              add_transformed(program, kernel, true), -1, out.value, -1, false, -1, flops);
}

void add_winograd_kernel_gradient(Program& program, Array x, Array g, Array out, int bias_gradient,
                                  Window window, double flops) {
  Job job{tiles_of(x, g, window.low[0], window.low[1]), tiles_of(g, g, 0, 0)};
  // As many parts as the work asks for, not the threads: the sum is the same on every machine.
  int64_t size = out.shape[2] * out.shape[3], filters = out.shape[3], all = job.in.all();
  int64_t parts = 1;
  while (parts < 8 && all / (16 * job.rows()) >= parts) parts *= 2;
  int64_t each = (all + parts - 1) / parts;
  int sums = program.value({parts, POINTS * size + filters}, "float32", Home::Arena);
  std::vector<int> uses{x.value, g.value, out.value, sums};
  if (bias_gradient >= 0) uses.push_back(bias_gradient);
  int from = x.value, gradient = g.value, to = out.value;
  program.step("convolution_kernel_gradient", uses, [=](char* const* at) {
    float* sum = reinterpret_cast<float*>(at[sums]);
    float* biases = sum + parts * POINTS * size;
    bool biased = bias_gradient >= 0;
    parallel(parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; part++) {
        float* mine = sum + part * POINTS * size;
        float* bias = biased ? biases + part * filters : nullptr;
        std::memset(mine, 0, POINTS * size * 4);
        if (bias) std::memset(bias, 0, filters * 4);
        run_accumulate(job, floats(at, from), floats(at, gradient), mine, bias, part * each,
                       std::min(all, (part + 1) * each));
      }
    });
    parallel(size, 1024, [&](int64_t begin, int64_t end) {
      run_kernel_gradient(sum, parts, size, reinterpret_cast<float*>(at[to]), begin, end);
    });
    if (!biased) return;
    float* bias = reinterpret_cast<float*>(at[bias_gradient]);
    for (int64_t c = 0; c < filters; c++) {
      bias[c] = biases[c];
      for (int64_t part = 1; part < parts; part++) bias[c] += biases[part * filters + c];
    }
  }, flops);
}

}  // namespace gradatim
