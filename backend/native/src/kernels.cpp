// Kernels whose order of operations is fixed: the same bits whatever the number of threads.
#include "kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "short_rows.hpp"
#include "vector_math.hpp"

#define IVDEP _Pragma("GCC ivdep")
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

namespace gradatim {
namespace {

constexpr int64_t CHUNK = 256;   // rows summed in one go; chunks are then added in order

struct Sum {
  template <class T> static T start() { return T(0); }
  template <class T> static T join(T a, T b) { return a + b; }
};
struct Max {   // NaN wins
  template <class T> static T start() { return -std::numeric_limits<T>::infinity(); }
  template <class T> static T join(T a, T b) { return a > b || a != a ? a : b; }
};
struct Min {
  template <class T> static T start() { return std::numeric_limits<T>::infinity(); }
  template <class T> static T join(T a, T b) { return a < b || a != a ? a : b; }
};

// acc[i] = join(acc[i], w * x[i])
#define ACCUMULATE(T, Op, name)                                                              \
  VECTORISED void name(T* __restrict acc, const T* x, T w, bool weighted, int64_t n) {       \
    if (weighted) {                                                                          \
      IVDEP for (int64_t i = 0; i < n; i++) acc[i] = Op::join<T>(acc[i], w * x[i]); \
    } else {                                                                                 \
      IVDEP for (int64_t i = 0; i < n; i++) acc[i] = Op::join<T>(acc[i], x[i]); \
    }                                                                                        \
  }
ACCUMULATE(float, Sum, accumulate_sum_f)
ACCUMULATE(double, Sum, accumulate_sum_d)
ACCUMULATE(float, Max, accumulate_max_f)
ACCUMULATE(double, Max, accumulate_max_d)
ACCUMULATE(float, Min, accumulate_min_f)
ACCUMULATE(double, Min, accumulate_min_d)

// The join of n neighbours, in 16 lanes that are joined at the end.
#define TOTAL(T, Op, name)                                                                   \
  VECTORISED T name(const T* x, const T* w, int64_t n) {                                     \
    T lanes[16];                                                                             \
    for (int j = 0; j < 16; j++) lanes[j] = Op::start<T>();                                  \
    int64_t i = 0;                                                                           \
    for (; i + 16 <= n; i += 16)                                                             \
      for (int j = 0; j < 16; j++)                                                           \
        lanes[j] = Op::join<T>(lanes[j], w ? w[i + j] * x[i + j] : x[i + j]);                \
    for (; i < n; i++) lanes[i % 16] = Op::join<T>(lanes[i % 16], w ? w[i] * x[i] : x[i]);   \
    for (int step = 8; step; step /= 2)                                                      \
      for (int j = 0; j < step; j++) lanes[j] = Op::join<T>(lanes[j], lanes[j + step]);      \
    return lanes[0];                                                                         \
  }
TOTAL(float, Sum, total_sum_f)
TOTAL(double, Sum, total_sum_d)
TOTAL(float, Max, total_max_f)
TOTAL(double, Max, total_max_d)
TOTAL(float, Min, total_min_f)
TOTAL(double, Min, total_min_d)

template <class T> struct Table {
  void (*accumulate)(T*, const T*, T, bool, int64_t);
  T (*total)(const T*, const T*, int64_t);
  T start;
  T (*join)(T, T);
};

template <class T> Table<T> table(const std::string& kind);
template <> Table<float> table<float>(const std::string& kind) {
  if (kind == "sum") return {accumulate_sum_f, total_sum_f, 0, Sum::join<float>};
  if (kind == "max") return {accumulate_max_f, total_max_f, Max::start<float>(), Max::join<float>};
  return {accumulate_min_f, total_min_f, Min::start<float>(), Min::join<float>};
}
template <> Table<double> table<double>(const std::string& kind) {
  if (kind == "sum") return {accumulate_sum_d, total_sum_d, 0, Sum::join<double>};
  if (kind == "max") return {accumulate_max_d, total_max_d, Max::start<double>(), Max::join<double>};
  return {accumulate_min_d, total_min_d, Min::start<double>(), Min::join<double>};
}

template <class T>
void reduce(const Table<T>& t, const T* x, const T* w, T* out, int64_t outer, int64_t n,
            int64_t inner, T scale) {
  if (inner == 1) {   // rows of neighbours, in chunks of a fixed length
    const int64_t length = 4096;
    int64_t pieces = (n + length - 1) / length;
    if (pieces <= 1) {
      parallel(outer, std::max<int64_t>(1, 16384 / std::max<int64_t>(n, 1)),
               [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; o++) out[o] = t.total(x + o * n, w, n) * scale;
      });
      return;
    }
    std::vector<T> parts(outer * pieces);
    parallel(outer * pieces, 4, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; p++) {
        int64_t o = p / pieces, from = p % pieces * length;
        parts[p] = t.total(x + o * n + from, w ? w + from : nullptr, std::min(length, n - from));
      }
    });
    for (int64_t o = 0; o < outer; o++) {
      T sum = t.start;
      for (int64_t p = 0; p < pieces; p++) sum = t.join(sum, parts[o * pieces + p]);
      out[o] = sum * scale;
    }
    return;
  }
  int64_t pieces = std::max<int64_t>(1, (n + CHUNK - 1) / CHUNK);
  std::vector<T> parts(outer * pieces * inner);
  int64_t grain = std::max<int64_t>(1, 32768 / (std::min(n, CHUNK) * inner + 1));
  parallel(outer * pieces, grain, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; p++) {
      int64_t o = p / pieces, from = p % pieces * CHUNK, to = std::min(n, from + CHUNK);
      T* part = parts.data() + p * inner;
      std::fill_n(part, inner, t.start);
      for (int64_t i = from; i < to; i++)
        t.accumulate(part, x + (o * n + i) * inner, w ? w[i] : T(1), w != nullptr, inner);
    }
  });
  for (int64_t o = 0; o < outer; o++) {
    T* first = parts.data() + o * pieces * inner;
    for (int64_t p = 1; p < pieces; p++)
      t.accumulate(first, first + p * inner, T(1), false, inner);
    for (int64_t i = 0; i < inner; i++) out[o * inner + i] = first[i] * scale;
  }
}

// ---- rows --------------------------------------------------------------------------------------

VECTORISED float exp_shifted(float* out, const float* x, float shift, int64_t n) {
  float lanes[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int j = 0; j < 16; j++) {
      float e = math::exp(x[i + j] - shift);
      out[i + j] = e;
      lanes[j] += e;
    }
  for (; i < n; i++) lanes[i % 16] += out[i] = math::exp(x[i] - shift);
  for (int step = 8; step; step /= 2)
    for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];
  return lanes[0];
}

double exp_shifted(double* out, const double* x, double shift, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += out[i] = std::exp(x[i] - shift);
  return sum;
}

template <class T> T largest(const T* x, int64_t n) {
  T best = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < n; i++) best = x[i] > best || x[i] != x[i] ? x[i] : best;
  return best;
}

template <class T> void softmax_row(const T* x, T* out, int64_t n) {
  T top = largest(x, n);
  if (top == -std::numeric_limits<T>::infinity()) {   // all masked: nothing has probability
    std::fill_n(out, n, T(0));
    return;
  }
  T factor = T(1) / exp_shifted(out, x, top, n);
  for (int64_t i = 0; i < n; i++) out[i] *= factor;
}

template <class T> T logsumexp_row(const T* x, int64_t n, T* scratch) {
  T top = largest(x, n);
  if (std::isinf(top)) return top;
  return top + std::log(exp_shifted(scratch, x, top, n));
}

template <class T> int64_t arg_row(const T* x, int64_t n, bool most) {
  int64_t best = 0;
  for (int64_t i = 0; i < n; i++) {
    if (x[i] != x[i]) return i;
    if (most ? x[i] > x[best] : x[i] < x[best]) best = i;
  }
  return best;
}

template <class T>
void rows_of(const std::string& kind, const char* x_, char* out_, int64_t rows, int64_t n) {
  const T* x = reinterpret_cast<const T*>(x_);
  T* out = reinterpret_cast<T*>(out_);
  parallel(rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1)),
           [&](int64_t begin, int64_t end) {
    if constexpr (std::is_same_v<T, float>)
      if (kind == "argmax" && n <= short_rows::LONGEST)
        return short_rows::argmax(x, reinterpret_cast<int64_t*>(out_), begin, end, n);
    std::vector<T> scratch(kind == "softmax" || kind[0] == 'a' ? 0 : n);
    for (int64_t r = begin; r < end; r++) {
      const T* row = x + r * n;
      if (kind == "softmax") softmax_row(row, out + r * n, n);
      else if (kind == "logsumexp") out[r] = logsumexp_row(row, n, scratch.data());
      else if (kind == "log_softmax") {
        // The largest entry goes first: near it, a row's own total would cancel the digits.
        T top = largest(row, n), rest = 0;
        bool masked = top == -std::numeric_limits<T>::infinity();
        if (!std::isinf(top)) rest = std::log(exp_shifted(scratch.data(), row, top, n));
        for (int64_t i = 0; i < n; i++) out[r * n + i] = masked ? top : row[i] - top - rest;
      } else {
        reinterpret_cast<int64_t*>(out_)[r] = arg_row(row, n, kind == "argmax");
      }
    }
  });
}

// ---- losses ------------------------------------------------------------------------------------

template <class T>
void cross_entropy(const T* x, const int64_t* labels, T* loss, int64_t rows, int64_t n, T smooth) {
  for (int64_t r = 0; r < rows; r++)
    if (labels[r] >= n)
      throw std::out_of_range("a label is not below the number of classes, " + std::to_string(n));
  parallel(rows, std::max<int64_t>(1, 4096 / n), [&](int64_t begin, int64_t end) {
    if constexpr (std::is_same_v<T, float>)
      if (n <= short_rows::LONGEST)
        return short_rows::cross_entropy(x, labels, loss, begin, end, n, smooth);
    std::vector<T> scratch(n);
    for (int64_t r = begin; r < end; r++) {
      const T* row = x + r * n;
      if (labels[r] < 0) {
        loss[r] = 0;
        continue;
      }
      T top = largest(row, n), total = exp_shifted(scratch.data(), row, top, n);
      T log_total = std::log(total);
      T right = log_total - (row[labels[r]] - top);
      if (smooth != 0) {
        T mean = 0;
        for (int64_t i = 0; i < n; i++) mean += log_total - (row[i] - top);
        right = (1 - smooth) * right + smooth * mean / n;
      }
      loss[r] = right;
    }
  });
}

template <class T>
void cross_entropy_gradient(const T* g, const T* x, const int64_t* labels, T* out, int64_t rows,
                            int64_t n, T smooth) {
  parallel(rows, std::max<int64_t>(1, 4096 / n), [&](int64_t begin, int64_t end) {
    if constexpr (std::is_same_v<T, float>)
      if (n <= short_rows::LONGEST)
        return short_rows::cross_entropy_gradient(g, x, labels, out, begin, end, n, smooth);
    for (int64_t r = begin; r < end; r++) {
      T* o = out + r * n;
      if (labels[r] < 0) {
        std::fill_n(o, n, T(0));
        continue;
      }
      T top = largest(x + r * n, n), spread = smooth / n;
      T factor = T(1) / exp_shifted(o, x + r * n, top, n);
      for (int64_t i = 0; i < n; i++) o[i] = o[i] * factor - spread;
      o[labels[r]] -= 1 - smooth;
      for (int64_t i = 0; i < n; i++) o[i] *= g[r];
    }
  });
}

// ---- pooling -----------------------------------------------------------------------------------

struct Pool {
  int64_t batch, height, width, channels, out_height, out_width, rows, columns;
  int64_t stride_y, stride_x, low_y, low_x;

  Pool(const Array& image, const Array& pooled, const Window& w, const std::vector<int64_t>& size) {
    bool flat = image.shape.size() == 3;             // one spatial axis: a height of 1
    batch = image.shape[0];
    height = flat ? 1 : image.shape[1];
    width = image.shape[image.shape.size() - 2];
    channels = image.shape.back();
    out_height = flat ? 1 : pooled.shape[1];
    out_width = pooled.shape[pooled.shape.size() - 2];
    rows = flat ? 1 : size[0];
    columns = size.back();
    stride_y = flat ? 1 : w.strides[0];
    stride_x = w.strides.back();
    low_y = flat ? 0 : w.low[0];
    low_x = w.low.back();
  }
};

VECTORISED void take_larger(float* __restrict best, uint8_t* __restrict index, const float* x,
                            uint8_t position, int64_t n) {
  IVDEP for (int64_t c = 0; c < n; c++) {
    bool better = x[c] > best[c] || (x[c] != x[c] && best[c] == best[c]);
    best[c] = better ? x[c] : best[c];
    index[c] = better ? position : index[c];
  }
}

VECTORISED void put_where(float* __restrict d, const float* g, const uint8_t* index,
                          uint8_t position, bool add, int64_t n) {
  if (add) {
    IVDEP for (int64_t c = 0; c < n; c++)
      d[c] += index[c] == position ? g[c] : 0.0f;
  } else {
    IVDEP for (int64_t c = 0; c < n; c++)
      d[c] = index[c] == position ? g[c] : 0.0f;
  }
}

void max_pool(const Pool& p, const float* x, float* out, uint8_t* indices) {
  parallel(p.batch * p.out_height, std::max<int64_t>(1, 8192 / (p.out_width * p.channels + 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; line++) {
      int64_t b = line / p.out_height, oy = line % p.out_height;
      for (int64_t ox = 0; ox < p.out_width; ox++) {
        float* best = out + (line * p.out_width + ox) * p.channels;
        uint8_t* index = indices + (line * p.out_width + ox) * p.channels;
        bool first = true;
        for (int64_t ky = 0; ky < p.rows; ky++) {
          int64_t y = oy * p.stride_y - p.low_y + ky;
          if (y < 0 || y >= p.height) continue;
          for (int64_t kx = 0; kx < p.columns; kx++) {
            int64_t at = ox * p.stride_x - p.low_x + kx;
            if (at < 0 || at >= p.width) continue;
            const float* s = x + ((b * p.height + y) * p.width + at) * p.channels;
            uint8_t position = static_cast<uint8_t>(ky * p.columns + kx);
            if (first) {
              std::memcpy(best, s, p.channels * 4);
              std::memset(index, position, p.channels);
              first = false;
            } else {
              take_larger(best, index, s, position, p.channels);
            }
          }
        }
      }
    }
  });
}

inline __attribute__((always_inline)) float larger(float best, float x) {
  return x > best || x != x ? x : best;
}

inline __attribute__((always_inline)) float at_least(float lowest, float x) {
  return x < lowest ? lowest : x;
}

// One line of the pooled image when nobody asks where the largest entries were.
VECTORISED void largest_line(const Pool& p, const float* image, float* __restrict out, int64_t oy,
                             bool relu) {
  float lowest = relu ? 0.0f : -std::numeric_limits<float>::infinity();
  int64_t n = p.channels, y0 = std::max<int64_t>(0, oy * p.stride_y - p.low_y),
          y1 = std::min(p.height, oy * p.stride_y - p.low_y + p.rows);
  for (int64_t ox = 0; ox < p.out_width; ox++, out += n) {
    int64_t x0 = std::max<int64_t>(0, ox * p.stride_x - p.low_x),
            x1 = std::min(p.width, ox * p.stride_x - p.low_x + p.columns);
    const float* first = image + (y0 * p.width + x0) * n;
    if (y1 - y0 == 2 && x1 - x0 == 2) {
      const float *b = first + n, *c = first + p.width * n, *d = c + n;
      IVDEP for (int64_t i = 0; i < n; i++)
        out[i] = at_least(lowest, larger(larger(larger(first[i], b[i]), c[i]), d[i]));
      continue;
    }
    std::memcpy(out, first, n * 4);
    for (int64_t y = y0; y < y1; y++)
      for (int64_t x = x0 + (y == y0); x < x1; x++) {
        const float* other = image + (y * p.width + x) * n;
        IVDEP for (int64_t i = 0; i < n; i++) out[i] = larger(out[i], other[i]);
      }
    if (relu) {
      IVDEP for (int64_t i = 0; i < n; i++) out[i] = at_least(lowest, out[i]);
    }
  }
}

void largest(const Pool& p, const float* x, float* out, bool relu) {
  parallel(p.batch * p.out_height, std::max<int64_t>(1, 32768 / (p.out_width * p.channels + 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; line++)
      largest_line(p, x + line / p.out_height * p.height * p.width * p.channels,
                   out + line * p.out_width * p.channels, line % p.out_height, relu);
  });
}

void max_pool_gradient(const Pool& p, const float* g, const uint8_t* indices, float* out) {
  bool apart = p.stride_y >= p.rows && p.stride_x >= p.columns;
  parallel(p.batch, std::max<int64_t>(1, 16384 / (p.height * p.width * p.channels + 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) {
      float* image = out + b * p.height * p.width * p.channels;
      bool covered = apart && p.stride_y == p.rows && p.stride_x == p.columns && !p.low_y &&
                     !p.low_x && p.out_height * p.rows == p.height &&
                     p.out_width * p.columns == p.width;
      if (!covered) std::memset(image, 0, p.height * p.width * p.channels * 4);
      for (int64_t oy = 0; oy < p.out_height; oy++)
        for (int64_t ox = 0; ox < p.out_width; ox++) {
          int64_t from = ((b * p.out_height + oy) * p.out_width + ox) * p.channels;
          for (int64_t ky = 0; ky < p.rows; ky++) {
            int64_t y = oy * p.stride_y - p.low_y + ky;
            if (y < 0 || y >= p.height) continue;
            for (int64_t kx = 0; kx < p.columns; kx++) {
              int64_t at = ox * p.stride_x - p.low_x + kx;
              if (at < 0 || at >= p.width) continue;
              put_where(image + (y * p.width + at) * p.channels, g + from, indices + from,
                        static_cast<uint8_t>(ky * p.columns + kx), !apart, p.channels);
            }
          }
        }
    }
  });
}

// ---- products in float64 -----------------------------------------------------------------------

VECTORISED void row_times_matrix(const double* a, int64_t a_stride, const double* b, int64_t k,
                                 int64_t b_row, double* __restrict out, int64_t n) {
  std::fill_n(out, n, 0.0);
  int64_t i = 0;
  for (; i + 4 <= k; i += 4) {
    double a0 = a[i * a_stride], a1 = a[(i + 1) * a_stride], a2 = a[(i + 2) * a_stride],
           a3 = a[(i + 3) * a_stride];
    const double *b0 = b + i * b_row, *b1 = b0 + b_row, *b2 = b1 + b_row, *b3 = b2 + b_row;
    IVDEP for (int64_t j = 0; j < n; j++)
      out[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
  }
  for (; i < k; i++) {
    double a0 = a[i * a_stride];
    const double* b0 = b + i * b_row;
    IVDEP for (int64_t j = 0; j < n; j++) out[j] += a0 * b0[j];
  }
}

}  // namespace

#define POINTER(T, number) reinterpret_cast<T*>(at[number])

void add_reduce(Program& program, const std::string& kind, int x, int out, int64_t outer, int64_t n,
                int64_t inner, double scale, int weights) {
  std::vector<int> uses{x, out};
  if (weights >= 0) uses.push_back(weights);
  bool wide = program.at(x).dtype == DType::F64;
  auto tf = table<float>(kind);
  auto td = table<double>(kind);
  program.step(kind, uses, [=](char* const* at) {
    if (wide)
      reduce<double>(td, POINTER(double, x), weights < 0 ? nullptr : POINTER(double, weights),
                     POINTER(double, out), outer, n, inner, scale);
    else
      reduce<float>(tf, POINTER(float, x), weights < 0 ? nullptr : POINTER(float, weights),
                    POINTER(float, out), outer, n, inner, static_cast<float>(scale));
  }, static_cast<double>(outer) * n * inner);
}

void add_rows(Program& program, const std::string& kind, int x, int out, int64_t rows, int64_t n) {
  bool wide = program.at(x).dtype == DType::F64;
  program.step(kind, {x, out}, [=](char* const* at) {
    if (wide) rows_of<double>(kind, at[x], at[out], rows, n);
    else rows_of<float>(kind, at[x], at[out], rows, n);
  }, static_cast<double>(rows) * n * 4);
}

void add_cross_entropy(Program& program, int logits, int labels, int loss, int64_t rows, int64_t n,
                       double smoothing) {
  bool wide = program.at(logits).dtype == DType::F64;
  program.step("softmax_cross_entropy", {logits, labels, loss}, [=](char* const* at) {
    if (wide) cross_entropy<double>(POINTER(double, logits), POINTER(int64_t, labels),
                                    POINTER(double, loss), rows, n, smoothing);
    else cross_entropy<float>(POINTER(float, logits), POINTER(int64_t, labels),
                              POINTER(float, loss), rows, n, static_cast<float>(smoothing));
  }, static_cast<double>(rows) * n * 4);
}

void add_cross_entropy_gradient(Program& program, int g, int logits, int labels, int out,
                                int64_t rows, int64_t n, double smoothing) {
  bool wide = program.at(logits).dtype == DType::F64;
  program.step("softmax_cross_entropy_gradient", {g, logits, labels, out}, [=](char* const* at) {
    if (wide)
      cross_entropy_gradient<double>(POINTER(double, g), POINTER(double, logits),
                                     POINTER(int64_t, labels), POINTER(double, out), rows, n,
                                     smoothing);
    else
      cross_entropy_gradient<float>(POINTER(float, g), POINTER(float, logits),
                                    POINTER(int64_t, labels), POINTER(float, out), rows, n,
                                    static_cast<float>(smoothing));
  }, static_cast<double>(rows) * n * 6);
}

void add_max_pool(Program& program, Array x_, Array out_, int indices, Window window,
                  std::vector<int64_t> size, bool relu) {
  Pool pool(x_, out_, window, size);
  int x = x_.value, out = out_.value;
  double flops = static_cast<double>(out_.size()) * pool.rows * pool.columns;
  if (indices < 0) {
    program.step("max_pool", {x, out}, [=](char* const* at) {
      largest(pool, POINTER(float, x), POINTER(float, out), relu);
    }, flops);
    return;
  }
  program.step("max_pool", {x, out, indices}, [=](char* const* at) {
    max_pool(pool, POINTER(float, x), POINTER(float, out), POINTER(uint8_t, indices));
  }, flops);
}

void add_max_pool_gradient(Program& program, Array g_, int indices, Array out_, Window window,
                           std::vector<int64_t> size) {
  Pool pool(out_, g_, window, size);
  int g = g_.value, out = out_.value;
  double flops = static_cast<double>(out_.size());
  program.step("max_pool_gradient", {g, indices, out}, [=](char* const* at) {
    max_pool_gradient(pool, POINTER(float, g), POINTER(uint8_t, indices), POINTER(float, out));
  }, flops);
}

void add_gather(Program& program, int x, int indices, int out, int64_t n, int64_t m,
                int64_t width) {
  size_t bytes = width * size_of(program.at(x).dtype);
  program.step("gather", {x, indices, out}, [=](char* const* at) {
    const int64_t* rows = POINTER(int64_t, indices);
    for (int64_t i = 0; i < n; i++)
      if (rows[i] < -m || rows[i] >= m)
        throw std::out_of_range("index " + std::to_string(rows[i]) + " is out of range for " +
                                std::to_string(m) + " rows");
    parallel(n, std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1)),
             [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++)
        std::memcpy(at[out] + i * bytes, at[x] + (rows[i] < 0 ? rows[i] + m : rows[i]) * bytes,
                    bytes);
    });
  }, 0);
}

void add_scatter_add(Program& program, int indices, int values, int out, int64_t n, int64_t m,
                     int64_t width) {
  program.step("scatter_add", {indices, values, out}, [=](char* const* at) {
    const int64_t* rows = POINTER(int64_t, indices);
    const float* v = POINTER(float, values);
    float* o = POINTER(float, out);
    std::memset(o, 0, m * width * 4);
    // Threads share columns, not rows: every row is added up in the order given.
    parallel(width, std::max<int64_t>(16, 65536 / std::max<int64_t>(n, 1)),
             [&](int64_t begin, int64_t end) {
      for (int64_t i = 0; i < n; i++) {
        int64_t row = rows[i] < 0 ? rows[i] + m : rows[i];
        if (row < 0 || row >= m) continue;
        accumulate_sum_f(o + row * width + begin, v + i * width + begin, 1, false, end - begin);
      }
    });
  }, static_cast<double>(n) * width);
}

void add_matmul64(Program& program, Matrix x, Matrix y, Matrix out) {
  int64_t m = out.shape[0], n = out.shape[1], k = x.shape[1];
  program.step("matmul", {x.value, y.value, out.value}, [=](char* const* at) {
    const double* a = POINTER(double, x.value) + x.offset;
    const double* b = POINTER(double, y.value) + y.offset;
    double* o = POINTER(double, out.value) + out.offset;
    std::vector<double> packed;
    int64_t b_row = y.strides[0];
    if (y.strides[1] != 1 && n > 1) {      // rows of the second matrix side by side
      packed.resize(k * n);
      for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) packed[i * n + j] = b[i * y.strides[0] + j * y.strides[1]];
      b = packed.data();
      b_row = n;
    }
    parallel(m, std::max<int64_t>(1, 32768 / (k * n + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++)
        row_times_matrix(a + i * x.strides[0], x.strides[1], b, k, b_row, o + i * n, n);
    });
  }, 2.0 * m * n * k);
}

void add_copy(Program& program, int from, int to) {
  size_t bytes = program.at(from).bytes;
  program.step("copy", {from, to}, [=](char* const* at) {
    if (at[from] != at[to]) std::memcpy(at[to], at[from], bytes);
  }, 0);
}

}  // namespace gradatim
