// What the recurrent steps share: which rows a thread runs, in what order it runs their time, and
// how their arrays are read. No thread waits for another, because rows of a batch never meet.
#pragma once
#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "products.hpp"
#include "recurrent.hpp"
#include "vector_math.hpp"

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")

namespace gradatim {

constexpr int64_t ROWS = 64;      // rows that go through time together: their state stays cached

inline float sigmoid(float z) { return 1.0f / (1.0f + math::exp(-z)); }

// ---- the order of rows and of time -------------------------------------------------------------

// Rows of one thread, longest first, so that those still running are always the first ones.
struct Rows {
  std::vector<int64_t> row, length;
  std::vector<const float*> x, add;
  std::vector<float*> out;

  int64_t count() const { return static_cast<int64_t>(row.size()); }
};

template <class Body>
void each_block(const Sequences& s, const int64_t* lengths, const Body& body) {
  std::vector<int64_t> order(s.batch), length(s.batch, s.steps);
  std::iota(order.begin(), order.end(), 0);
  if (lengths) {
    for (int64_t b = 0; b < s.batch; b++)
      length[b] = std::min(std::max<int64_t>(lengths[b], 0), s.steps);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return length[a] > length[b]; });
  }
  bool small = s.batch * s.steps * s.units * s.units < 1 << 18;
  int64_t threads = small ? 1 : std::min<int64_t>(thread_limit(), s.batch);
  int64_t blocks = (s.batch + threads * ROWS - 1) / (threads * ROWS) * threads;
  parallel(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; block++) {
      Rows rows;
      for (int64_t i = block; i < s.batch; i += blocks) {    // dealt out, so that work is even
        rows.row.push_back(order[i]);
        rows.length.push_back(length[order[i]]);
      }
      rows.x.resize(rows.row.size());
      rows.add.resize(rows.row.size());
      rows.out.resize(rows.row.size());
      body(rows);
    }
  });
}

// A row runs its live steps and, when it is padded, one more: there the state stays, but gates are
// computed, and all its padded steps have the same ones.
struct Time {
  int64_t steps;
  bool reverse;

  int64_t turns(int64_t length) const { return std::min(length + 1, steps); }
  bool dead(int64_t turn, int64_t length) const {
    return length < steps && turn == (reverse ? 0 : length);
  }
  int64_t step(int64_t turn, int64_t length) const {
    if (!reverse) return turn;
    return length == steps ? steps - 1 - turn : turn == 0 ? steps - 1 : length - turn;
  }
  int64_t back(int64_t turn, int64_t length) const { return reverse ? turn : length - 1 - turn; }
  // The step before a live one, or -1 where the row starts.
  int64_t before(int64_t t, int64_t length) const {
    return reverse ? (t + 1 < length ? t + 1 : -1) : t - 1;
  }
};

// Rows of an array (batch, steps, width).
template <class T> struct Grid {
  T* data;
  int64_t steps, width;
  T* at(int64_t b, int64_t t) const { return data + (b * steps + t) * width; }
};

inline void copy(float* to, const float* from, int64_t n) {
  if (from) std::memcpy(to, from, n * 4);
  else std::memset(to, 0, n * 4);
}

// Zeros from the row's length on.
inline void clear_padding(const Grid<float>& grid, int64_t b, int64_t length) {
  std::memset(grid.at(b, length), 0, (grid.steps - length) * grid.width * 4);
}

// The value of a padded step in all others.
inline void spread_padding(const Grid<float>& grid, int64_t b, int64_t length, const float* value) {
  for (int64_t t = length; t < grid.steps; t++)
    if (grid.at(b, t) != value) copy(grid.at(b, t), value, grid.width);
}

// ---- what every step of the program needs ------------------------------------------------------

struct Use {                      // values by number; -1 for none
  char* const* at;
  float* operator()(int value) const {
    return value < 0 ? nullptr : reinterpret_cast<float*>(at[value]);
  }
  const int64_t* lengths(int value) const {
    return value < 0 ? nullptr : reinterpret_cast<const int64_t*>(at[value]);
  }
};

inline std::vector<int> used(std::vector<int> values) {
  values.erase(std::remove(values.begin(), values.end(), -1), values.end());
  return values;
}

inline int scratch(Program& program, int64_t floats) {
  return program.value({floats}, "float32", Home::Arena);
}

inline double flops_of(const Sequences& s, int gates) {
  return 1.0 * s.batch * s.steps * s.units * (2.0 * gates * s.units + 10 * gates);
}

}  // namespace gradatim
