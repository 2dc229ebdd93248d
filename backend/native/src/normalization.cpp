// Passes over rows of channels. Few channels are seen several rows at a time, so that loops are
// long; sums are made in pieces of a fixed size, which are then added in order.
#include "normalization.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")

namespace gradatim {
namespace {

constexpr int64_t TILE = 128;      // a loop's least length
constexpr int64_t PIECE = 16384;   // numbers that are summed in one go

#define LOOPS(T)                                                                             \
  /* sum += w * x over n neighbours */                                                       \
  VECTORISED void add_weighted(T* __restrict sum, const T* x, T w, int64_t n) {              \
    IVDEP for (int64_t i = 0; i < n; i++) sum[i] += w * x[i];                                \
  }                                                                                          \
  VECTORISED void add_squares(T* __restrict sum, const T* x, const T* mean, T w, int64_t n) { \
    IVDEP for (int64_t i = 0; i < n; i++) sum[i] += w * (x[i] - mean[i]) * (x[i] - mean[i]); \
  }                                                                                          \
  VECTORISED void add_moments(T* __restrict sum, T* __restrict moment, const T* g, const T* x, \
                              const T* mean, int64_t n) {                                    \
    IVDEP for (int64_t i = 0; i < n; i++) {                                                  \
      sum[i] += g[i];                                                                        \
      moment[i] += g[i] * (x[i] - mean[i]);                                                  \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void normalise(const T* x, const T* mean, const T* scale, const T* shift,       \
                            T* __restrict out, int64_t n) {                                  \
    IVDEP for (int64_t i = 0; i < n; i++) out[i] = (x[i] - mean[i]) * scale[i] + shift[i];   \
  }                                                                                          \
  /* The sum of (a - b)(c - d) over n neighbours, in 16 lanes. */                            \
  VECTORISED T product(const T* a, T b, const T* c, T d, int64_t n) {                        \
    T lanes[16] = {};                                                                        \
    int64_t i = 0;                                                                           \
    for (; i + 16 <= n; i += 16)                                                             \
      for (int j = 0; j < 16; j++) lanes[j] += (a[i + j] - b) * (c[i + j] - d);              \
    for (; i < n; i++) lanes[i % 16] += (a[i] - b) * (c[i] - d);                             \
    for (int step = 8; step; step /= 2)                                                      \
      for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];                            \
    return lanes[0];                                                                         \
  }                                                                                          \
  VECTORISED T total(const T* a, int64_t n) {                                                \
    T lanes[16] = {};                                                                        \
    int64_t i = 0;                                                                           \
    for (; i + 16 <= n; i += 16)                                                             \
      for (int j = 0; j < 16; j++) lanes[j] += a[i + j];                                     \
    for (; i < n; i++) lanes[i % 16] += a[i];                                                \
    for (int step = 8; step; step /= 2)                                                      \
      for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];                            \
    return lanes[0];                                                                         \
  }                                                                                          \
  VECTORISED void standardise(const T* x, T mean, T factor, const T* gamma, const T* beta,   \
                              T* __restrict out, int64_t n) {                                \
    IVDEP for (int64_t i = 0; i < n; i++) out[i] = (x[i] - mean) * factor;                   \
    if (gamma) { IVDEP for (int64_t i = 0; i < n; i++) out[i] *= gamma[i]; }                 \
    if (beta) { IVDEP for (int64_t i = 0; i < n; i++) out[i] += beta[i]; }                   \
  }                                                                                          \
  /* factor (g - mean of g - slope y) for y = (x - mean) factor */                           \
  VECTORISED void unstandardise(const T* g, const T* x, T mean, T factor, T g_mean, T slope, \
                                T* __restrict out, int64_t n) {                              \
    IVDEP for (int64_t i = 0; i < n; i++)                                                    \
      out[i] = (g[i] - slope * ((x[i] - mean) * factor) - g_mean) * factor;                  \
  }
LOOPS(float)
LOOPS(double)

int64_t rows_at_once(int64_t channels) {
  return std::max<int64_t>(1, TILE / std::max<int64_t>(channels, 1));
}

// A vector of channels as often as rows are seen at once.
template <class T> std::vector<T> repeated(const T* v, int64_t channels) {
  int64_t times = rows_at_once(channels);
  std::vector<T> result(times * channels);
  for (int64_t i = 0; i < times; i++) std::copy_n(v, channels, result.data() + i * channels);
  return result;
}

// add(part, from, n) adds the rows from `from` on, n of them in one loop, to `parts` vectors that
// are rows_at_once * channels long; the result's vectors are `channels` long.
template <class T, class Add>
std::vector<T> sums(int64_t rows, int64_t channels, int64_t parts, const Add& add) {
  int64_t wide = rows_at_once(channels) * channels;
  int64_t each = std::max<int64_t>(1, PIECE / std::max<int64_t>(channels, 1));
  int64_t pieces = (rows + each - 1) / each;
  std::vector<T> found(pieces * parts * wide), result(parts * channels);
  parallel(pieces, 2, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; p++)
      add(found.data() + p * parts * wide, p * each, std::min(rows, (p + 1) * each));
  });
  for (int64_t p = 0; p < pieces * parts; p++)
    for (int64_t i = 0; i < wide; i++)
      result[p % parts * channels + i % channels] += found[p * wide + i];
  return result;
}

template <class T> struct Pointers {
  char* const* at;
  T* operator()(int value) const { return value < 0 ? nullptr : reinterpret_cast<T*>(at[value]); }
};

// Adds a step whose body is written once for float and double.
template <class Body>
void typed_step(Program& program, const std::string& name, int x, std::vector<int> uses,
                double flops,                 const Body& body) {
  uses.erase(std::remove(uses.begin(), uses.end(), -1), uses.end());
  bool wide = program.at(x).dtype == DType::F64;
  program.step(name, uses, [=](char* const* at) {
    if (wide) body(Pointers<double>{at}, double());
    else body(Pointers<float>{at}, float());
  }, flops);
}

}  // namespace

void add_channel_sums(Program& program, int x, int mean, int weights, int out, int64_t rows,
                      int64_t channels, int64_t repeat) {
  typed_step(program, mean < 0 ? "batch_sum" : "batch_squares", x, {x, mean, weights, out},
             (mean < 0 ? 2.0 : 4.0) * rows * channels, [=](auto use, auto zero) {
    using T = decltype(zero);
    std::vector<T> centre;
    if (mean >= 0) centre = repeated(use(mean), channels);
    int64_t group = rows_at_once(channels);
    auto found = sums<T>(rows, channels, 1, [&](T* part, int64_t from, int64_t to) {
      while (from < to) {
        int64_t sample = from / repeat;
        int64_t end = weights < 0 ? to : std::min(to, (sample + 1) * repeat);
        T w = weights < 0 ? T(1) : use(weights)[sample];
        for (; from < end; from += group) {
          int64_t n = std::min(group, end - from) * channels;
          if (mean < 0) add_weighted(part, use(x) + from * channels, w, n);
          else add_squares(part, use(x) + from * channels, centre.data(), w, n);
        }
        from = end;
      }
    });
    std::copy(found.begin(), found.end(), use(out));
  });
}

void add_moment_sums(Program& program, int moments, int mean, int out) {
  int64_t parts = program.at(moments).shape[0], channels = program.at(moments).shape[2];
  typed_step(program, mean < 0 ? "batch_sum" : "batch_squares", out, {moments, mean, out},
             7.0 * parts * channels, [=](auto use, auto) {
    for (int64_t c = 0; c < channels; c++) {
      double total = 0.0;
      for (int64_t part = 0; part < parts; part++) {
        const auto* of = use(moments) + part * 4 * channels + c;
        double near = of[0], sum = of[channels], squares = of[2 * channels];
        double weight = of[3 * channels], off = mean < 0 ? 0.0 : use(mean)[c] - near;
        total += mean < 0 ? sum + near * weight : squares + off * (off * weight - 2.0 * sum);
      }
      use(out)[c] = total;
    }
  });
}

void add_batch_norm(Program& program, int x, int mean, int variance, int gamma, int beta, int out,
                    int64_t rows, int64_t channels, double epsilon) {
  typed_step(program, "batch_norm", x, {x, mean, variance, gamma, beta, out}, 3.0 * rows * channels,
             [=](auto use, auto zero) {
    using T = decltype(zero);
    std::vector<T> scale(channels);
    for (int64_t c = 0; c < channels; c++)
      scale[c] = use(gamma)[c] / std::sqrt(use(variance)[c] + static_cast<T>(epsilon));
    auto centre = repeated(use(mean), channels), factor = repeated(scale.data(), channels),
         shift = repeated(use(beta), channels);
    int64_t group = rows_at_once(channels);
    parallel(rows, group * std::max<int64_t>(1, PIECE / (group * channels)),
             [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r += group)
        normalise(use(x) + r * channels, centre.data(), factor.data(), shift.data(),
                  use(out) + r * channels, std::min(group, end - r) * channels);
    });
  });
}

void add_batch_norm_sums(Program& program, int g, int x, int mean, int total_, int moment,
                         int64_t rows, int64_t channels) {
  typed_step(program, "batch_norm_sums", x, {g, x, mean, total_, moment}, 4.0 * rows * channels,
             [=](auto use, auto zero) {
    using T = decltype(zero);
    auto centre = repeated(use(mean), channels);
    int64_t group = rows_at_once(channels), wide = group * channels;
    auto found = sums<T>(rows, channels, 2, [&](T* part, int64_t from, int64_t to) {
      for (; from < to; from += group)
        add_moments(part, part + wide, use(g) + from * channels, use(x) + from * channels,
                    centre.data(), std::min(group, to - from) * channels);
    });
    std::copy_n(found.data(), channels, use(total_));
    std::copy_n(found.data() + channels, channels, use(moment));
  });
}

void add_layer_norm(Program& program, int x, int gamma, int beta, int out, int64_t rows, int64_t n,
                    double epsilon) {
  typed_step(program, "layer_norm", x, {x, gamma, beta, out}, 7.0 * rows * n,
             [=](auto use, auto zero) {
    using T = decltype(zero);
    parallel(rows, std::max<int64_t>(1, 8192 / n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        const T* row = use(x) + r * n;
        T mean = total(row, n) / n;
        T factor = 1 / std::sqrt(product(row, mean, row, mean, n) / n + static_cast<T>(epsilon));
        standardise(row, mean, factor, use(gamma), use(beta), use(out) + r * n, n);
      }
    });
  });
}

void add_layer_norm_gradient(Program& program, int g, int x, int out, int64_t rows, int64_t n,
                             double epsilon) {
  typed_step(program, "layer_norm_gradient", x, {g, x, out}, 11.0 * rows * n,
             [=](auto use, auto zero) {
    using T = decltype(zero);
    parallel(rows, std::max<int64_t>(1, 8192 / n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        const T *row = use(x) + r * n, *cotangent = use(g) + r * n;
        T mean = total(row, n) / n;
        T factor = 1 / std::sqrt(product(row, mean, row, mean, n) / n + static_cast<T>(epsilon));
        T slope = product(cotangent, T(0), row, mean, n) * factor / n;
        unstandardise(cotangent, row, mean, factor, total(cotangent, n) / n, slope,
                      use(out) + r * n, n);
      }
    });
  });
}

}  // namespace gradatim
