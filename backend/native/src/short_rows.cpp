// Losses and places of the largest number for rows that are too short to fill a register.
#include "short_rows.hpp"

#include <algorithm>
#include <limits>

#include "vector_math.hpp"

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

namespace gradatim::short_rows {
namespace {

constexpr int LANES = 16;
constexpr float LEAST = -std::numeric_limits<float>::infinity();

// Column c of the rows is at to[c * LANES]; lanes without a row repeat the last one.
inline void turn(const float* x, int64_t rows, int64_t n, float* to) {
  for (int64_t lane = 0; lane < LANES; lane++) {
    const float* row = x + std::min(lane, rows - 1) * n;
    for (int64_t c = 0; c < n; c++) to[c * LANES + lane] = row[c];
  }
}

// The largest of each lane, NaN first, and the sum of exp(x - largest), which replaces x.
inline void exponentials(float* x, int64_t n, float* top, float* total) {
  for (int j = 0; j < LANES; j++) top[j] = LEAST, total[j] = 0.0f;
  for (int64_t c = 0; c < n; c++)
    for (int j = 0; j < LANES; j++) {
      float v = x[c * LANES + j];
      top[j] = v > top[j] || v != v ? v : top[j];
    }
  for (int64_t c = 0; c < n; c++)
    for (int j = 0; j < LANES; j++) {
      float e = math::exp(x[c * LANES + j] - top[j]);
      x[c * LANES + j] = e;
      total[j] += e;
    }
}

VECTORISED void losses(const float* x, const int64_t* labels, float* loss, int64_t rows, int64_t n,
                       float smooth) {
  float turned[LONGEST * LANES], top[LANES], total[LANES], mean[LANES];
  turn(x, rows, n, turned);
  for (int j = 0; j < LANES; j++) mean[j] = 0.0f;
  if (smooth != 0)
    for (int64_t c = 0; c < n; c++)
      for (int j = 0; j < LANES; j++) mean[j] += turned[c * LANES + j];
  exponentials(turned, n, top, total);
  for (int j = 0; j < LANES; j++) total[j] = math::log(total[j]);
  for (int64_t r = 0; r < rows; r++) {
    bool counts = labels[r] >= 0;
    float right = total[r] - (x[r * n + (counts ? labels[r] : 0)] - top[r]);
    if (smooth != 0)
      right = (1 - smooth) * right + smooth * (total[r] - (mean[r] / n - top[r]));
    loss[r] = counts ? right : 0.0f;
  }
}

VECTORISED void gradients(const float* g, const float* x, const int64_t* labels, float* out,
                          int64_t rows, int64_t n, float smooth) {
  float turned[LONGEST * LANES], top[LANES], total[LANES], factor[LANES];
  turn(x, rows, n, turned);
  exponentials(turned, n, top, total);
  float spread = smooth / n;
  for (int j = 0; j < LANES; j++) factor[j] = 1.0f / total[j];
  for (int64_t c = 0; c < n; c++)
    for (int j = 0; j < LANES; j++)
      turned[c * LANES + j] = turned[c * LANES + j] * factor[j] - spread;
  for (int64_t r = 0; r < rows; r++) {
    float* o = out + r * n;
    if (labels[r] < 0) {
      std::fill_n(o, n, 0.0f);
      continue;
    }
    turned[labels[r] * LANES + r] -= 1 - smooth;
    for (int64_t c = 0; c < n; c++) o[c] = turned[c * LANES + r] * g[r];
  }
}

VECTORISED void largest(const float* x, int64_t* out, int64_t rows, int64_t n) {
  float turned[LONGEST * LANES], best[LANES];
  int32_t place[LANES];
  turn(x, rows, n, turned);
  for (int j = 0; j < LANES; j++) best[j] = turned[j], place[j] = 0;
  for (int64_t c = 1; c < n; c++)
    for (int j = 0; j < LANES; j++) {
      float v = turned[c * LANES + j];
      bool better = v > best[j] || (v != v && best[j] == best[j]);   // the first NaN wins
      best[j] = better ? v : best[j];
      place[j] = better ? static_cast<int32_t>(c) : place[j];
    }
  for (int64_t r = 0; r < rows; r++) out[r] = place[r];
}

}  // namespace

void cross_entropy(const float* x, const int64_t* labels, float* loss, int64_t begin, int64_t end,
                   int64_t n, float smooth) {
  for (int64_t r = begin; r < end; r += LANES)
    losses(x + r * n, labels + r, loss + r, std::min<int64_t>(LANES, end - r), n, smooth);
}

void cross_entropy_gradient(const float* g, const float* x, const int64_t* labels, float* out,
                            int64_t begin, int64_t end, int64_t n, float smooth) {
  for (int64_t r = begin; r < end; r += LANES)
    gradients(g + r, x + r * n, labels + r, out + r * n, std::min<int64_t>(LANES, end - r), n,
              smooth);
}

void argmax(const float* x, int64_t* out, int64_t begin, int64_t end, int64_t n) {
  for (int64_t r = begin; r < end; r += LANES)
    largest(x + r * n, out + r, std::min<int64_t>(LANES, end - r), n);
}

}  // namespace gradatim::short_rows
