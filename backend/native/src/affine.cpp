// Four rows at a time, so that a coefficient is loaded once for them; memory sets the pace.
#include "affine.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace gradatim {
namespace {

#define INLINE inline __attribute__((always_inline))

constexpr int64_t GRAIN = 1 << 16;                   // elements of a chunk of rows, at least
constexpr int ROWS = 4;

// Reads numbers of either type as float64.
template <class V, class T>
INLINE void wide(const T* from, V& to) {
  constexpr int LANES = sizeof(V) / 8;
  typedef T Narrow __attribute__((vector_size(LANES * sizeof(T))));
  Narrow v;
  std::memcpy(&v, from, sizeof(v));
  to = __builtin_convertvector(v, V);
}

template <class V, class T, int N>
INLINE void some(const T* x, int64_t row, const double* kernel, const double* bias, int64_t p,
                 int64_t t, double* out) {
  constexpr int LANES = sizeof(V) / 8;
  const int64_t whole = p / LANES * LANES;
  for (int64_t j = 0; j < t; j++) {
    const double* w = kernel + j * p;
    V sum[N];
    for (int i = 0; i < N; i++) sum[i] = V{};
    for (int64_t k = 0; k < whole; k += LANES) {
      V a, b;
      wide(w + k, b);
      for (int i = 0; i < N; i++) {
        wide(x + i * row + k, a);
        sum[i] += a * b;
      }
    }
    for (int i = 0; i < N; i++) {
      double total = 0.0;
      for (int64_t k = whole; k < p; k++) total += x[i * row + k] * w[k];
      for (int l = 0; l < LANES; l++) total += sum[i][l];
      out[i * t + j] = total + bias[j];
    }
  }
}

template <class V, class T>
INLINE void rows(const Table& x, const double* kernel, const double* bias, int64_t begin,
                 int64_t end, int64_t p, int64_t t, double* out) {
  const T* data = static_cast<const T*>(x.data);
  int64_t i = begin;
  for (; i + ROWS <= end; i += ROWS)
    some<V, T, ROWS>(data + i * x.row, x.row, kernel, bias, p, t, out + i * t);
  for (; i < end; i++) some<V, T, 1>(data + i * x.row, x.row, kernel, bias, p, t, out + i * t);
}

typedef double V8 __attribute__((vector_size(64)));
typedef double V4 __attribute__((vector_size(32)));
typedef double V2 __attribute__((vector_size(16)));
using Affine = void (*)(const Table&, const double*, const double*, int64_t, int64_t, int64_t,
                        int64_t, double*);

#define AFFINE(name, V)                                                                       \
  void name(const Table& x, const double* kernel, const double* bias, int64_t begin,          \
            int64_t end, int64_t p, int64_t t, double* out) {                                 \
    if (x.single) rows<V, float>(x, kernel, bias, begin, end, p, t, out);                     \
    else rows<V, double>(x, kernel, bias, begin, end, p, t, out);                             \
  }
__attribute__((target("arch=x86-64-v4"))) AFFINE(affine_v4, V8)
__attribute__((target("arch=x86-64-v3"))) AFFINE(affine_v3, V4)
AFFINE(affine_any, V2)

}  // namespace

void affine(const Table& x, const double* kernel, const double* bias, int64_t n, int64_t p,
            int64_t t, double* out) {
  static const Affine chosen = __builtin_cpu_supports("x86-64-v4")   ? affine_v4
                               : __builtin_cpu_supports("x86-64-v3") ? affine_v3
                                                                     : affine_any;
  parallel(n, GRAIN / (p + 1) + 1, [&](int64_t begin, int64_t end) {
    chosen(x, kernel, bias, begin, end, p, t, out);
  });
}

void add_affine(Program& program, int x, int kernel, int bias, int out) {
  const Value& v = program.at(x);
  const int64_t n = v.shape[0], p = v.shape[1], t = program.at(kernel).shape[1];
  const bool single = v.dtype == DType::F32;
  program.step("affine", {x, kernel, bias, out}, [=](char* const* at) {
    const auto doubles = [&](int value) { return reinterpret_cast<double*>(at[value]); };
    std::vector<double> turned(p * t);
    for (int64_t k = 0; k < p; k++)
      for (int64_t j = 0; j < t; j++) turned[j * p + k] = doubles(kernel)[k * t + j];
    affine({at[x], single, p, 1}, turned.data(), doubles(bias), n, p, t, doubles(out));
  }, 2.0 * n * p * t);
}

}  // namespace gradatim
