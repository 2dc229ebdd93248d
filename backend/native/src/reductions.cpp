// Reductions in an order that is fixed: the same bits whatever the number of threads.
#include "reductions.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "vectorised.hpp"

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

}  // namespace gradatim
