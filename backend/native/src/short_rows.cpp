// Losses and places of the largest number for rows too short for several registers each.
#include "short_rows.hpp"

#include <algorithm>
#include <limits>

#include "transpose.hpp"
#include "vector_math.hpp"
#include "vectorised.hpp"

namespace gradatim::short_rows {
namespace {

constexpr int LANES = 16;

// Column c of the rows is at to[c * LANES]; lanes without a row repeat the last one.
template <class T> INLINE void turn(const T* x, int64_t rows, int64_t n, T* to) {
  int64_t even = rows == LANES ? n / 4 * 4 : 0;
  for (int64_t lane = 0; lane < LANES; lane += 4)
    for (int64_t c = 0; c < even; c += 4)
      transpose(x + lane * n + c, n, to + c * LANES + lane, LANES);
  for (int64_t c = even; c < n; c++)
    for (int64_t lane = 0; lane < LANES; lane++)
      to[c * LANES + lane] = x[std::min(lane, rows - 1) * n + c];
}

// The rows back from their columns.
template <class T> INLINE void turn_back(const T* x, int64_t rows, int64_t n, T* to) {
  int64_t even = rows == LANES ? n / 4 * 4 : 0;
  for (int64_t lane = 0; lane < LANES; lane += 4)
    for (int64_t c = 0; c < even; c += 4)
      transpose(x + c * LANES + lane, LANES, to + lane * n + c, n);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = even; c < n; c++) to[r * n + c] = x[c * LANES + r];
}

// The largest of each lane, NaN first, and the sum of exp(x - largest), which replaces x.
template <class T> INLINE void exponentials(T* x, int64_t n, T* top, T* total) {
  T most[LANES];
  for (int j = 0; j < LANES; j++) most[j] = x[j];
  for (int64_t c = 1; c < n; c++)
    TOGETHER for (int j = 0; j < LANES; j++) {
      T v = x[c * LANES + j];
      most[j] = (v > most[j]) | (v != v) ? v : most[j];
    }
  std::copy_n(most, LANES, top);
  for (int j = 0; j < LANES; j++) total[j] = T(0);
  for (int64_t c = 0; c < n; c++)
    for (int j = 0; j < LANES; j++) {
      T e = math::exp(x[c * LANES + j] - top[j]);
      x[c * LANES + j] = e;
      total[j] += e;
    }
}

template <class T>
INLINE void losses_of(const T* x, const int64_t* labels, T* loss, int64_t rows, int64_t n,
                       T smooth) {
  T turned[LONGEST * LANES], top[LANES], total[LANES], mean[LANES];
  turn(x, rows, n, turned);
  for (int j = 0; j < LANES; j++) mean[j] = T(0);
  if (smooth != 0)
    for (int64_t c = 0; c < n; c++)
      for (int j = 0; j < LANES; j++) mean[j] += turned[c * LANES + j];
  exponentials(turned, n, top, total);
  for (int j = 0; j < LANES; j++) total[j] = math::log(total[j]);
  for (int64_t r = 0; r < rows; r++) {
    bool counts = labels[r] >= 0;
    T right = total[r] - (x[r * n + (counts ? labels[r] : 0)] - top[r]);
    if (smooth != 0)
      right = (1 - smooth) * right + smooth * (total[r] - (mean[r] / n - top[r]));
    loss[r] = counts ? right : T(0);
  }
}

template <class T>
INLINE void gradients_of(const T* g, const T* x, const int64_t* labels, T* out,
                          int64_t rows, int64_t n, T smooth) {
  T turned[LONGEST * LANES], top[LANES], total[LANES], factor[LANES];
  turn(x, rows, n, turned);
  exponentials(turned, n, top, total);
  T spread = smooth / n;
  for (int j = 0; j < LANES; j++) factor[j] = T(1) / total[j];
  for (int64_t c = 0; c < n; c++)
    for (int j = 0; j < LANES; j++)
      turned[c * LANES + j] = turned[c * LANES + j] * factor[j] - spread;
  for (int64_t r = 0; r < rows; r++)
    if (labels[r] >= 0) turned[labels[r] * LANES + r] -= 1 - smooth;
  for (int j = 0; j < LANES; j++) factor[j] = g[std::min<int64_t>(j, rows - 1)];
  for (int64_t c = 0; c < n; c++)
    for (int j = 0; j < LANES; j++) turned[c * LANES + j] *= factor[j];
  turn_back(turned, rows, n, out);
  for (int64_t r = 0; r < rows; r++)
    if (labels[r] < 0) std::fill_n(out + r * n, n, T(0));
}

template <class T>
INLINE void largest_of(const T* x, int64_t* out, int64_t rows, int64_t n) {
  using Place = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;    // as wide as the numbers
  T turned[LONGEST * LANES];
  turn(x, rows, n, turned);
  T best[LANES];
  Place place[LANES];
  for (int j = 0; j < LANES; j++) best[j] = turned[j], place[j] = 0;
  for (int64_t c = 1; c < n; c++)
    TOGETHER for (int j = 0; j < LANES; j++) {
      T v = turned[c * LANES + j];
      bool better = (v > best[j]) | ((v != v) & (best[j] == best[j]));     // the first NaN wins
      best[j] = better ? v : best[j];
      place[j] = better ? static_cast<Place>(c) : place[j];
    }
  for (int64_t r = 0; r < rows; r++) out[r] = place[r];
}

#define KERNELS(T)                                                                           \
  VECTORISED void losses(const T* x, const int64_t* labels, T* loss, int64_t rows, int64_t n, \
                         T smooth) {                                                         \
    losses_of(x, labels, loss, rows, n, smooth);                                             \
  }                                                                                          \
  VECTORISED void gradients(const T* g, const T* x, const int64_t* labels, T* out,           \
                            int64_t rows, int64_t n, T smooth) {                             \
    gradients_of(g, x, labels, out, rows, n, smooth);                                        \
  }                                                                                          \
  VECTORISED void largest(const T* x, int64_t* out, int64_t rows, int64_t n) {               \
    largest_of(x, out, rows, n);                                                             \
  }
KERNELS(float)
KERNELS(double)

}  // namespace

template <class T>
void cross_entropy(const T* x, const int64_t* labels, T* loss, int64_t begin, int64_t end,
                   int64_t n, T smooth) {
  for (int64_t r = begin; r < end; r += LANES)
    losses(x + r * n, labels + r, loss + r, std::min<int64_t>(LANES, end - r), n, smooth);
}

template <class T>
void cross_entropy_gradient(const T* g, const T* x, const int64_t* labels, T* out,
                            int64_t begin, int64_t end, int64_t n, T smooth) {
  for (int64_t r = begin; r < end; r += LANES)
    gradients(g + r, x + r * n, labels + r, out + r * n, std::min<int64_t>(LANES, end - r), n,
              smooth);
}

template <class T>
void argmax(const T* x, int64_t* out, int64_t begin, int64_t end, int64_t n) {
  for (int64_t r = begin; r < end; r += LANES)
    largest(x + r * n, out + r, std::min<int64_t>(LANES, end - r), n);
}

#define INSTANCES(T)                                                                         \
  template void cross_entropy(const T*, const int64_t*, T*, int64_t, int64_t, int64_t, T);   \
  template void cross_entropy_gradient(const T*, const T*, const int64_t*, T*, int64_t,      \
                                       int64_t, int64_t, T);                                 \
  template void argmax(const T*, int64_t*, int64_t, int64_t, int64_t);
INSTANCES(float)
INSTANCES(double)

}  // namespace gradatim::short_rows
