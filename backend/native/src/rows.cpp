// Each row by itself, the largest entry taken out first, so that exponentials do not overflow.
#include "rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "short_rows.hpp"
#include "vector_math.hpp"
#include "vectorised.hpp"

namespace gradatim {
namespace {

// out = exp(x - shift), and the sum of that.
#define EXP_SHIFTED(T)                                                                       \
  VECTORISED T exp_shifted(T* out, const T* x, T shift, int64_t n) {                         \
    T lanes[16] = {};                                                                        \
    int64_t i = 0;                                                                           \
    for (; i + 16 <= n; i += 16)                                                             \
      for (int j = 0; j < 16; j++) {                                                         \
        T e = math::exp(x[i + j] - shift);                                                   \
        out[i + j] = e;                                                                      \
        lanes[j] += e;                                                                       \
      }                                                                                      \
    for (; i < n; i++) lanes[i % 16] += out[i] = math::exp(x[i] - shift);                    \
    for (int step = 8; step; step /= 2)                                                      \
      for (int j = 0; j < step; j++) lanes[j] += lanes[j + step];                            \
    return lanes[0];                                                                         \
  }
EXP_SHIFTED(float)
EXP_SHIFTED(double)

// The largest, or NaN where there is one.
#define LARGEST(T)                                                                           \
  VECTORISED T largest(const T* x, int64_t n) {                                              \
    T lanes[16], best = -std::numeric_limits<T>::infinity();                                 \
    for (int j = 0; j < 16; j++) lanes[j] = best;                                            \
    int64_t i = 0;                                                                           \
    for (; i + 16 <= n; i += 16)                                                             \
      for (int j = 0; j < 16; j++) {                                                         \
        T v = x[i + j];                                                                      \
        lanes[j] = v > lanes[j] || v != v ? v : lanes[j];                                    \
      }                                                                                      \
    for (; i < n; i++) best = x[i] > best || x[i] != x[i] ? x[i] : best;                     \
    for (int j = 0; j < 16; j++)                                                             \
      best = lanes[j] > best || lanes[j] != lanes[j] ? lanes[j] : best;                      \
    return best;                                                                             \
  }                                                                                          \
  VECTORISED void scale(T* x, T factor, T less, int64_t n) {                                 \
    IVDEP for (int64_t i = 0; i < n; i++) x[i] = x[i] * factor - less;                       \
  }
LARGEST(float)
LARGEST(double)

template <class T> void softmax_row(const T* x, T* out, int64_t n) {
  T top = largest(x, n);
  if (top == -std::numeric_limits<T>::infinity()) {   // all masked: nothing has probability
    std::fill_n(out, n, T(0));
    return;
  }
  scale(out, T(1) / exp_shifted(out, x, top, n), 0, n);
}

template <class T> T logsumexp_row(const T* x, int64_t n, T* scratch) {
  T top = largest(x, n);
  if (std::isinf(top)) return top;
  return top + std::log(exp_shifted(scratch, x, top, n));
}

template <class T> int64_t arg_row(const T* x, int64_t n, bool most) {
  if (most) {
    T top = largest(x, n);
    for (int64_t i = 0; i < n; i++)
      if (x[i] == top || x[i] != x[i]) return i;
  }
  int64_t best = 0;
  for (int64_t i = 0; i < n; i++) {
    if (x[i] != x[i]) return i;
    if (x[i] < x[best]) best = i;
  }
  return best;
}

template <class T>
void rows_of(const std::string& kind, const char* x_, char* out_, int64_t rows, int64_t n) {
  const T* x = reinterpret_cast<const T*>(x_);
  T* out = reinterpret_cast<T*>(out_);
  parallel(rows, std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1)),
           [&](int64_t begin, int64_t end) {
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
      scale(o, factor, spread, n);
      o[labels[r]] -= 1 - smooth;
      scale(o, g[r], 0, n);
    }
  });
}

}  // namespace

#define POINTER(T, number) reinterpret_cast<T*>(at[number])

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

}  // namespace gradatim
