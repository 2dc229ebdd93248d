// What the recurrent steps share: which rows a thread runs, in what order it runs their time, and
// how their arrays are read. No thread waits for another, because rows of a batch never meet.
#pragma once
#include <emmintrin.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "products.hpp"
#include "recurrent.hpp"
#include "vector_math.hpp"
#include "vectorised.hpp"

namespace gradatim {

constexpr int64_t ROWS = 64;      // rows that go through time together: their state stays cached

// ---- the order of rows and of time -------------------------------------------------------------

// Rows of one thread, longest first, so that those still running are always the first ones.
template <class T> struct Rows {
  std::vector<int64_t> row, length;
  int64_t first;                  // how many rows other threads have before these, in some order
  std::vector<const T*> x, add;
  std::vector<T*> out;

  int64_t count() const { return static_cast<int64_t>(row.size()); }
};

template <class T, class Body>
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
      Rows<T> rows;
      rows.first = block * (s.batch / blocks) + std::min(block, s.batch % blocks);
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

// Rows of an array (batch, steps, width), or of one whose live rows stand together: `first` says
// where those of a sequence begin.
template <class T> struct Grid {
  T* data;
  int64_t steps, width;
  const int64_t* first = nullptr;
  T* at(int64_t b, int64_t t) const { return data + ((first ? first[b] : b * steps) + t) * width; }
};

template <class T> void copy(T* to, const T* from, int64_t n) {
  if (from) std::memcpy(to, from, n * sizeof(T));
  else std::memset(to, 0, n * sizeof(T));
}

// Copies rows to memory that is not read again soon: past the caches when there is more of it than
// they hold, so that they keep what is.
template <class T> class Store {
 public:
  explicit Store(int64_t numbers) : past_(numbers * sizeof(T) >= size_t(12) << 20) {}
  void operator()(T* to, const T* from, int64_t n) const {
    int64_t bytes = n * sizeof(T);
    if (!past_ || !from || (reinterpret_cast<uintptr_t>(to) | bytes) % 16) return copy(to, from, n);
    for (int64_t i = 0; i < bytes; i += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(reinterpret_cast<char*>(to) + i),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(
                           reinterpret_cast<const char*>(from) + i)));
  }
  bool past() const { return past_; }
  void done() const { if (past_) _mm_sfence(); }

 private:
  bool past_;
};

// Zeros from the row's length on.
template <class T> void clear_padding(const Grid<T>& grid, int64_t b, int64_t length) {
  std::memset(grid.at(b, length), 0, (grid.steps - length) * grid.width * sizeof(T));
}

// The value of a padded step in all others.
template <class T>
void spread_padding(const Grid<T>& grid, int64_t b, int64_t length, const T* value) {
  for (int64_t t = length; t < grid.steps; t++)
    if (grid.at(b, t) != value) copy(grid.at(b, t), value, grid.width);
}

// ---- rows of a table by number -----------------------------------------------------------------

// Numbers count from 0, negative ones from the end; others are out of range.
void check_rows(const int64_t* rows, int64_t n, int64_t many);
inline int64_t row_of(int64_t number, int64_t many) { return number < 0 ? number + many : number; }

// ---- what every step of the program needs ------------------------------------------------------

template <class T> struct Use {    // values by number; -1 for none
  using Type = T;
  char* const* at;
  T* operator()(int value) const {
    return value < 0 ? nullptr : reinterpret_cast<T*>(at[value]);
  }
  const int64_t* numbers(int value) const {
    return value < 0 ? nullptr : reinterpret_cast<const int64_t*>(at[value]);
  }
};

// Adds a step whose body is written once for float and double: body(use), by the dtype of `like`.
template <class Body>
void typed_step(Program& program, const std::string& name, int like, std::vector<int> uses,
                const Body& body, double flops = 0) {
  uses.erase(std::remove(uses.begin(), uses.end(), -1), uses.end());
  bool wide = program.at(like).dtype == DType::F64;
  program.step(name, uses, [=](char* const* at) {
    if (wide) body(Use<double>{at});
    else body(Use<float>{at});
  }, flops);
}

// Memory for numbers of the dtype of `like`.
inline int scratch(Program& program, int like, int64_t numbers) {
  bool wide = program.at(like).dtype == DType::F64;
  return program.value({numbers}, wide ? "float64" : "float32", Home::Arena);
}

// And for a packed matrix (k, n) of it.
inline int packed_scratch(Program& program, int like, int64_t k, int64_t n) {
  bool wide = program.at(like).dtype == DType::F64;
  return scratch(program, like, wide ? Packed<double>::size(k, n) : Packed<float>::size(k, n));
}

inline double flops_of(const Sequences& s, int gates) {
  return 1.0 * s.batch * s.steps * s.units * (2.0 * gates * s.units + 10 * gates);
}

}  // namespace gradatim
