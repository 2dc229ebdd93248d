// Depthwise convolution: windows are walked element by element, all channels of one in a loop.
#include "depthwise64.hpp"

#include <vector>

namespace gradatim {
namespace {

constexpr int64_t WORK = 1 << 17;   // multiply-adds that are worth a thread

// With `each` filters for every channel: out += x k, x += out k, and k += x out, as they are named.
VECTORISED void add_filtered(double* __restrict out, const double* x, const double* k,
                             int64_t channels, int64_t each) {
  if (each == 1) {
    IVDEP for (int64_t c = 0; c < channels; c++) out[c] += x[c] * k[c];
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t j = 0; j < each; j++) out[c * each + j] += x[c] * k[c * each + j];
}

VECTORISED void add_joined(double* __restrict x, const double* g, const double* k,
                           int64_t channels, int64_t each) {
  if (each == 1) {
    IVDEP for (int64_t c = 0; c < channels; c++) x[c] += g[c] * k[c];
    return;
  }
  for (int64_t c = 0; c < channels; c++)
    for (int64_t j = 0; j < each; j++) x[c] += g[c * each + j] * k[c * each + j];
}

VECTORISED void add_run(double* __restrict sum, const double* x, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

VECTORISED void cut(double* x, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) x[i] = x[i] < 0 ? 0 : x[i];
}

double* pointer(char* const* at, int value) { return reinterpret_cast<double*>(at[value]); }

// body(element of the window, pixel) for what a spot reads.
template <class Body> void each_pixel(const Sliding& s, int64_t spot, const Body& body) {
  s.window(spot, [&](int64_t element, int64_t pixel, int64_t count) {
    for (int64_t i = 0; i < count; i++) body(element + i, pixel + i);
  });
}

int64_t grain_of(int64_t work) { return std::max<int64_t>(1, WORK / std::max<int64_t>(work, 1)); }

}  // namespace

void add_depthwise64(Program& program, Sliding s, int x, int kernel, int out, int bias, bool relu) {
  std::vector<int> uses{x, kernel, out};
  if (bias >= 0) uses.push_back(bias);
  int64_t n = s.filters;
  program.step("convolution", uses, [=](char* const* at) {
    parallel(s.batch * s.spots(), grain_of(n * s.elements()), [&](int64_t begin, int64_t end) {
      for (int64_t spot = begin; spot < end; spot++) {
        double* to = pointer(at, out) + spot * n;
        if (bias < 0) std::fill_n(to, n, 0.0);
        else std::copy_n(pointer(at, bias), n, to);
        each_pixel(s, spot, [&](int64_t element, int64_t pixel) {
          add_filtered(to, pointer(at, x) + pixel * s.channels, pointer(at, kernel) + element * n,
                       s.channels, s.each());
        });
        if (relu) cut(to, n);
      }
    });
  }, s.flops());
}

void add_depthwise64_data_gradient(Program& program, Sliding s, int g, int kernel, int out) {
  int64_t n = s.filters, image = s.pixels() * s.channels;
  program.step("convolution_data_gradient", {g, kernel, out}, [=](char* const* at) {
    parallel(s.batch, grain_of(s.spots() * n * s.elements()), [&](int64_t begin, int64_t end) {
      std::fill_n(pointer(at, out) + begin * image, (end - begin) * image, 0.0);
      for (int64_t spot = begin * s.spots(); spot < end * s.spots(); spot++)
        each_pixel(s, spot, [&](int64_t element, int64_t pixel) {
          add_joined(pointer(at, out) + pixel * s.channels, pointer(at, g) + spot * n,
                     pointer(at, kernel) + element * n, s.channels, s.each());
        });
    });
  }, s.flops());
}

void add_depthwise64_kernel_gradient(Program& program, Sliding s, int x, int g, int out) {
  int64_t n = s.filters, size = s.elements() * n, spots = s.batch * s.spots();
  int64_t chunks = std::clamp<int64_t>(spots * size / WORK, 1, 32);
  int64_t length = (spots + chunks - 1) / chunks;
  int sums = program.value({(chunks - 1) * size}, "float64", Home::Arena);
  program.step("convolution_kernel_gradient", {x, g, out, sums}, [=](char* const* at) {
    parallel(chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; chunk++) {
        double* sum = chunk ? pointer(at, sums) + (chunk - 1) * size : pointer(at, out);
        std::fill_n(sum, size, 0.0);
        for (int64_t spot = chunk * length; spot < std::min(spots, (chunk + 1) * length); spot++)
          each_pixel(s, spot, [&](int64_t element, int64_t pixel) {
            add_filtered(sum + element * n, pointer(at, x) + pixel * s.channels,
                         pointer(at, g) + spot * n, s.channels, s.each());
          });
      }
    });
    for (int64_t chunk = 1; chunk < chunks; chunk++)
      add_run(pointer(at, out), pointer(at, sums) + (chunk - 1) * size, size);
  }, s.flops());
}

}  // namespace gradatim
