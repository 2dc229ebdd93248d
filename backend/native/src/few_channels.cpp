// Convolutions of few channels, image by image: padded copies of an image need no bounds.
#include "few_channels.hpp"

#include <algorithm>
#include <cstring>

#include "vectorised.hpp"

namespace gradatim {
namespace {

constexpr int64_t MOST = 32;       // taps: terms of a sum

struct Job {
  int64_t images, in_height, in_width, in, filters;
  int64_t height, width;           // of what is written: pooled
  int64_t rows, columns, top, left, pool, taps;
  int64_t tap[MOST];               // offsets in a padded image

  Job(const Array& x, const Array& kernel, const Array& out, const Window& w, int64_t pool)
      : images(x.shape[0]), in_height(x.shape[1]), in_width(x.shape[2]), in(x.shape[3]),
        filters(kernel.shape[3]), height(out.shape[1]), width(out.shape[2]),
        rows(kernel.shape[0]), columns(kernel.shape[1]), top(w.low[0]), left(w.low[1]), pool(pool),
        taps(rows * columns * in) {
    for (int64_t t = 0; t < taps; t++) {
      int64_t row = t / (columns * in), column = t / in % columns;
      tap[t] = (row * padded_width() + column) * in + t % in;
    }
  }

  int64_t padded_height() const { return std::max(height * pool + rows - 1, in_height + top); }
  int64_t padded_width() const { return std::max(width * pool + columns - 1, in_width + left); }
  int64_t padded() const { return padded_height() * padded_width() * in; }
  double flops() const { return 2.0 * images * height * width * pool * pool * filters * taps; }

  void pad(const float* image, float* to) const {
    std::memset(to, 0, padded() * 4);
    for (int64_t y = 0; y < in_height; y++)
      std::memcpy(to + ((y + top) * padded_width() + left) * in, image + y * in_width * in,
                  in_width * in * 4);
  }
};

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
namespace v4 {
constexpr int W = 16;
#include "few_channels_kernels.hpp"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
namespace v3 {
constexpr int W = 8;
#include "few_channels_kernels.hpp"
}
#pragma GCC pop_options

const auto run_forward = wide_registers() ? v4::run_forward : v3::run_forward;
const auto run_gradient = wide_registers() ? v4::run_gradient : v3::run_gradient;

const float* floats(char* const* at, int value) {
  return value < 0 ? nullptr : reinterpret_cast<const float*>(at[value]);
}

uint8_t* bytes(char* const* at, int value) {
  return value < 0 ? nullptr : reinterpret_cast<uint8_t*>(at[value]);
}

std::vector<int> used(std::vector<int> values) {
  values.erase(std::remove(values.begin(), values.end(), -1), values.end());
  return values;
}

}  // namespace

bool few_channels_fit(const Array& kernel, const Window& window, int64_t groups, int64_t pool) {
  auto ones = [](const std::vector<int64_t>& v) { return v == std::vector<int64_t>{1, 1}; };
  const auto& k = kernel.shape;
  return groups == 1 && k.size() == 4 && ones(window.strides) && ones(window.dilation) &&
         k[0] * k[1] * k[2] <= MOST && k[3] % 16 == 0 && (pool == 1 || pool == 2) &&
         __builtin_cpu_supports("x86-64-v3");
}

void add_few_channels(Program& program, Array x, Array kernel, Array out, int indices, int bias,
                      Window window, int64_t pool, bool relu) {
  Job job(x, kernel, out, window, pool);
  int from = x.value, weights = kernel.value, to = out.value;
  program.step(pool > 1 ? "convolution,max_pool" : "convolution",
               used({from, weights, to, indices, bias}), [=](char* const* at) {
    parallel(job.images, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> image(job.padded());
      int64_t size = job.height * job.width * job.filters;
      for (int64_t i = begin; i < end; i++) {
        job.pad(floats(at, from) + i * job.in_height * job.in_width * job.in, image.data());
        uint8_t* index = bytes(at, indices);
        run_forward(job, image.data(), floats(at, weights), floats(at, bias), relu,
                    reinterpret_cast<float*>(at[to]) + i * size, index ? index + i * size : nullptr);
      }
    });
  }, job.flops());
}

void add_few_channels_kernel_gradient(Program& program, Array x, Array g, int indices, Array out,
                                      int bias_gradient, Window window, int64_t pool) {
  Job job(x, out, g, window, pool);
  int64_t parts = 1, kernel = job.taps * job.filters, whole = kernel + job.filters;
  while (parts < 8 && parts * 2 <= job.images) parts *= 2;    // whatever the number of threads
  int64_t each = (job.images + parts - 1) / parts;
  int sums = program.value({parts, whole}, "float32", Home::Arena);
  int from = x.value, slope = g.value, to = out.value;
  program.step(pool > 1 ? "max_pool,convolution_kernel_gradient" : "convolution_kernel_gradient",
               used({from, slope, indices, to, sums, bias_gradient}), [=](char* const* at) {
    float* found = reinterpret_cast<float*>(at[sums]);
    parallel(parts, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> image(job.padded());
      int64_t size = job.height * job.width * job.filters;
      for (int64_t part = begin; part < end; part++) {
        float* mine = found + part * whole;
        std::memset(mine, 0, whole * 4);
        for (int64_t i = part * each; i < std::min(job.images, (part + 1) * each); i++) {
          job.pad(floats(at, from) + i * job.in_height * job.in_width * job.in, image.data());
          const uint8_t* index = bytes(at, indices);
          run_gradient(job, image.data(), floats(at, slope) + i * size,
                       index ? index + i * size : nullptr, mine, mine + kernel);
        }
      }
    });
    for (int64_t part = 1; part < parts; part++)
      for (int64_t i = 0; i < whole; i++) found[i] += found[part * whole + i];
    std::memcpy(at[to], found, kernel * 4);
    if (bias_gradient >= 0) std::memcpy(at[bias_gradient], found + kernel, job.filters * 4);
  }, job.flops());
}

}  // namespace gradatim
