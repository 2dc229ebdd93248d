// Register-blocked products: a block of rows times a panel of columns stays in registers.
#include "products.hpp"

#include <algorithm>
#include <cstring>

#include "threads.hpp"
#include "transpose.hpp"
#include "vectorised.hpp"

namespace gradatim {
namespace {

// What one call multiplies; see multiply_panel.
template <class T> struct Operands {
  int64_t k;
  const T* const* x;
  int64_t step;
  const T* panel;
  int64_t panel_row;
  const T* const* add;
  T* const* out;
  int64_t first, width;
  bool relu;
};

// Rows of x, from `from` on, M of them, times a panel of N vectors V.
template <class V, class T, int M, int N> INLINE void block(const Operands<T>& o, int64_t from) {
  constexpr int LANES = sizeof(V) / sizeof(T);
  const T* row[M];
  V sum[M][N];
  for (int i = 0; i < M; i++) {
    row[i] = o.x[from + i];
    for (int j = 0; j < N; j++) sum[i][j] = V{};
  }
  const T* panel = o.panel;
  for (int64_t p = 0, at = 0; p < o.k; p++, at += o.step, panel += o.panel_row) {
    V b[N];
    for (int j = 0; j < N; j++) std::memcpy(&b[j], panel + j * LANES, sizeof(V));
    for (int i = 0; i < M; i++)
      for (int j = 0; j < N; j++) sum[i][j] += row[i][at] * b[j];
  }
  const bool full = o.width == N * LANES, relu = o.relu, added = o.add;
  T room[M][N * LANES];           // for rows of a panel that is not full
  T* out[M];
  const T* add[M];
  for (int i = 0; i < M; i++) {
    out[i] = full ? o.out[from + i] + o.first : room[i];
    add[i] = added ? o.add[from + i] + o.first : nullptr;
    if (added && !full) add[i] = std::copy_n(add[i], o.width, room[i]) - o.width;
  }
  // Unrolled: sums that are reached by a running index would pass through memory.
#pragma GCC unroll 8
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int j = 0; j < N; j++) {
      V v = sum[i][j], w;
      if (added) {
        std::memcpy(&w, add[i] + j * LANES, sizeof(V));
        v = w + v;
      }
      if (relu) v = v < V{} ? V{} : v;
      std::memcpy(out[i] + j * LANES, &v, sizeof(V));
    }
  if (full) return;
  for (int i = 0; i < M; i++) std::copy_n(room[i], o.width, o.out[from + i] + o.first);
}

template <class V, class T, int N, int MOST> INLINE void blocks(int64_t m, const Operands<T>& o) {
  for (int64_t i = 0; i < m;) {
    int64_t left = m - i;
    // Two even blocks rather than a full one and a crumb.
    int64_t take = left <= MOST ? left : left < 2 * MOST ? (left + 1) / 2 : MOST;
    switch (take) {
#define CASE(M) case M: if constexpr (M <= MOST) block<V, T, M, N>(o, i); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
#undef CASE
    }
    i += take;
  }
}

template <class T, int BYTES> struct VectorOf {
  typedef T Type __attribute__((vector_size(BYTES)));
};

// Panels of two vectors, and of one where few columns are left.
template <class T> struct Choice {
  void (*wide)(int64_t m, const Operands<T>& o);
  void (*narrow)(int64_t m, const Operands<T>& o);
  int64_t columns;                // of a wide one
};

#define KERNELS(name, T, BYTES, MOST, TARGET)                                                \
  TARGET void wide_##name(int64_t m, const Operands<T>& o) {                                 \
    blocks<VectorOf<T, BYTES>::Type, T, 2, MOST>(m, o);                                      \
  }                                                                                          \
  TARGET void narrow_##name(int64_t m, const Operands<T>& o) {                               \
    blocks<VectorOf<T, BYTES>::Type, T, 1, MOST>(m, o);                                      \
  }                                                                                          \
  constexpr Choice<T> name{wide_##name, narrow_##name, 2 * BYTES / sizeof(T)};
#define V4 __attribute__((target("arch=x86-64-v4")))
#define V3 __attribute__((target("arch=x86-64-v3")))
#define ANY
KERNELS(float_v4, float, 64, 8, V4)
KERNELS(float_v3, float, 32, 6, V3)
KERNELS(float_any, float, 16, 4, ANY)
KERNELS(double_v4, double, 64, 8, V4)
KERNELS(double_v3, double, 32, 6, V3)
KERNELS(double_any, double, 16, 4, ANY)

template <class T> Choice<T> chosen(Choice<T> newest, Choice<T> newer, Choice<T> any) {
  return __builtin_cpu_supports("x86-64-v4") ? newest
       : __builtin_cpu_supports("x86-64-v3") ? newer : any;
}

template <class T> const Choice<T>& choice();
template <> const Choice<float>& choice<float>() {
  static const auto one = chosen(float_v4, float_v3, float_any);
  return one;
}
template <> const Choice<double>& choice<double>() {
  static const auto one = chosen(double_v4, double_v3, double_any);
  return one;
}

}  // namespace

template <class T> int64_t panel_columns() { return choice<T>().columns; }

template <class T> int64_t panel_width(int64_t columns) {
  int64_t wide = choice<T>().columns;
  return columns <= wide / 2 ? wide / 2 : wide;
}

template <class T>
void multiply_panel(int64_t rows, int64_t k, const T* const* x, int64_t step, const T* panel,
                    int64_t panel_row, const T* const* add, T* const* out, int64_t first,
                    int64_t width, bool relu) {
  const Choice<T>& c = choice<T>();
  (width <= c.columns / 2 ? c.narrow : c.wide)(
      rows, {k, x, step, panel, panel_row, add, out, first, width, relu});
}

template <class T>
void pack_panel(T* panel, const T* from, int64_t k, int64_t first, int64_t width, int64_t row,
                int64_t column) {
  int64_t wide = panel_width<T>(width);
  from += first * column;
  if (column == 1) {
    for (int64_t p = 0; p < k; p++, panel += wide, from += row) {
      std::memcpy(panel, from, width * sizeof(T));
      std::fill(panel + width, panel + wide, T(0));
    }
    return;
  }
  if (width < wide) std::fill_n(panel, k * wide, T(0));
  int64_t j = 0, even = row == 1 ? k / 4 * 4 : 0;
  for (; j + 4 <= width; j += 4)
    for (int64_t p = 0; p < even; p += 4)
      transpose(from + p + j * column, column, panel + p * wide + j, wide);
  for (int64_t i = 0; i < width; i++)
    for (int64_t p = i < j ? even : 0; p < k; p++)
      panel[p * wide + i] = from[p * row + i * column];
}

template <class T> int64_t Packed<T>::size(int64_t k, int64_t n) {
  int64_t wide = panel_columns<T>();
  return (n + wide - 1) / wide * wide * k;
}

template <class T>
void Packed<T>::pack(T* memory, const T* from, int64_t k, int64_t n, int64_t row, int64_t column) {
  memory_ = memory;
  k_ = k;
  n_ = n;
  int64_t wide = panel_columns<T>();
  parallel((n + wide - 1) / wide, std::max<int64_t>(1, 32768 / std::max<int64_t>(k * wide, 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t first = begin * wide; first < std::min(n, end * wide); first += wide)
      pack_panel(memory + first * k, from, k, first, std::min(wide, n - first), row, column);
  });
}

template <class T>
void Packed<T>::multiply(int64_t rows, const T* const* x, const T* const* add, T* const* out,
                         int64_t step, bool relu, const Meanwhile& meanwhile) const {
  int64_t wide = panel_columns<T>(), panels = (n_ + wide - 1) / wide;
  for (int64_t panel = 0; panel < panels; panel++) {
    int64_t first = panel * wide, width = std::min(wide, n_ - first);
    multiply_panel(rows, k_, x, step, static_cast<const T*>(memory_) + first * k_,
                   panel_width<T>(width), add, out, first, width, relu);
    if (meanwhile) meanwhile(panel, panels);
  }
}

#define INSTANCES(T)                                                                         \
  template int64_t panel_columns<T>();                                                       \
  template int64_t panel_width<T>(int64_t);                                                  \
  template void multiply_panel(int64_t, int64_t, const T* const*, int64_t, const T*, int64_t, \
                               const T* const*, T* const*, int64_t, int64_t, bool);          \
  template void pack_panel(T*, const T*, int64_t, int64_t, int64_t, int64_t, int64_t);       \
  template class Packed<T>;
INSTANCES(float)
INSTANCES(double)

}  // namespace gradatim
