// Register-blocked products: a block of rows times a panel of columns stays in registers.
#include "products.hpp"

#include <algorithm>
#include <cstring>

namespace gradatim {
namespace {

#define INLINE inline __attribute__((always_inline))

// Rows x of M times a panel of N vectors V, then added to `add` and cut to `width` columns.
template <class V, int M, int N>
INLINE void block(int64_t k, const float* const* x, const float* panel, const float* const* add,
                  float* const* out, int64_t column, int64_t width) {
  constexpr int LANES = sizeof(V) / 4;
  const float* row[M];
  V sum[M][N];
  for (int i = 0; i < M; i++) {
    row[i] = x[i];
    for (int j = 0; j < N; j++) sum[i][j] = V{};
  }
  for (int64_t p = 0; p < k; p++) {
    V b[N];
    for (int j = 0; j < N; j++) std::memcpy(&b[j], panel + (p * N + j) * LANES, sizeof(V));
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) sum[i][j] += row[i][p] * b[j];
  }
  for (int i = 0; i < M; i++) {
    float* o = out[i] + column;
    const float* a = add ? add[i] + column : nullptr;
    if (width == N * LANES) {
      for (int j = 0; j < N; j++) {
        V v = sum[i][j], w;
        if (a) {
          std::memcpy(&w, a + j * LANES, sizeof(V));
          v = w + v;
        }
        std::memcpy(o + j * LANES, &v, sizeof(V));
      }
    } else {
      float v[N * LANES];
      std::memcpy(v, sum[i], sizeof(v));
      for (int64_t j = 0; j < width; j++) o[j] = a ? a[j] + v[j] : v[j];
    }
  }
}

template <class V, int N, int MOST>
INLINE void rows(int64_t m, int64_t k, const float* const* x, const float* panel,
                 const float* const* add, float* const* out, int64_t column, int64_t width) {
  for (int64_t i = 0; i < m;) {
    int64_t left = m - i;
    const float* const* a = add ? add + i : nullptr;
    // Two even blocks rather than a full one and a crumb.
    int64_t take = left <= MOST ? left : left < 2 * MOST ? (left + 1) / 2 : MOST;
    switch (take) {
#define CASE(M) case M: if constexpr (M <= MOST) \
    block<V, M, N>(k, x + i, panel, a, out + i, column, width); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
    }
    i += take;
  }
}

typedef float V16 __attribute__((vector_size(64)));
typedef float V8 __attribute__((vector_size(32)));
typedef float V4 __attribute__((vector_size(16)));
using Rows = void (*)(int64_t, int64_t, const float* const*, const float*, const float* const*,
                      float* const*, int64_t, int64_t);

#define ROWS(name, V, N, MOST)                                                               \
  void name(int64_t m, int64_t k, const float* const* x, const float* panel,                 \
            const float* const* add, float* const* out, int64_t column, int64_t width) {     \
    rows<V, N, MOST>(m, k, x, panel, add, out, column, width);                               \
  }
__attribute__((target("arch=x86-64-v4"))) ROWS(rows_v4, V16, 2, 8)
__attribute__((target("arch=x86-64-v3"))) ROWS(rows_v3, V8, 2, 6)
ROWS(rows_any, V4, 2, 4)

struct Choice {
  Rows rows;
  int64_t panel;                  // columns
};

const Choice& choice() {
  static const Choice one = __builtin_cpu_supports("x86-64-v4") ? Choice{rows_v4, 32}
                          : __builtin_cpu_supports("x86-64-v3") ? Choice{rows_v3, 16}
                                                                : Choice{rows_any, 8};
  return one;
}

}  // namespace

int64_t Packed::size(int64_t k, int64_t n) {
  int64_t width = choice().panel;
  return (n + width - 1) / width * width * k;
}

void Packed::pack(float* memory, const float* from, int64_t k, int64_t n, int64_t row,
                  int64_t column) {
  memory_ = memory;
  k_ = k;
  n_ = n;
  int64_t width = choice().panel;
  for (int64_t first = 0; first < n; first += width) {
    int64_t here = std::min(width, n - first);
    float* panel = memory + first * k;
    if (here < width) std::fill_n(panel, k * width, 0.0f);
    for (int64_t p = 0; p < k; p++)
      for (int64_t j = 0; j < here; j++)
        panel[p * width + j] = from[p * row + (first + j) * column];
  }
}

void Packed::multiply(int64_t rows, const float* const* x, const float* const* add,
                      float* const* out) const {
  const Choice& c = choice();
  for (int64_t first = 0; first < n_; first += c.panel)
    c.rows(rows, k_, x, memory_ + first * k_, add, out, first, std::min(c.panel, n_ - first));
}

}  // namespace gradatim
