// Steps within the lengths of sequences: packed, put back, multiplied, and added up word by word.
#include "sequences.hpp"

#include <algorithm>
#include <stdexcept>

namespace gradatim {
namespace {

constexpr int64_t TERMS = 256;    // steps whose products are added up in registers
constexpr int64_t GROUP = 24;     // rows of a product: full blocks, however many rows one has
constexpr double WORK = 1 << 18;  // multiply-adds that are worth a thread

#define LOOPS(T)                                                                             \
  VECTORISED void add_row(T* __restrict sum, const T* x, int64_t n) {                        \
    IVDEP for (int64_t j = 0; j < n; j++) sum[j] += x[j];                                    \
  }                                                                                          \
  /* Without numbers of words all rows belong to the first. */                               \
  VECTORISED void add_by_word(T* sums, const int64_t* word, const T* x, int64_t rows,        \
                              int64_t n) {                                                   \
    for (int64_t i = 0; i < rows; i++, x += n) {                                             \
      T* sum = sums + (word ? word[i] * n : 0);                                              \
      IVDEP for (int64_t j = 0; j < n; j++) sum[j] += x[j];                                  \
    }                                                                                        \
  }
LOOPS(float)
LOOPS(double)

// body(sequence, number of its live steps, the first among all live steps), in parallel.
template <class Body>
void each_sequence(const Sequences& s, const int64_t* lengths, int64_t width, const Body& body) {
  std::vector<int64_t> first = first_live(s, lengths);
  parallel(s.batch, std::max<int64_t>(1, 16384 / (s.steps * width)),
           [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) body(b, first[b + 1] - first[b], first[b]);
  });
}

}  // namespace

void check_rows(const int64_t* rows, int64_t n, int64_t many) {
  for (int64_t i = 0; i < n; i++)
    if (rows[i] < -many || rows[i] >= many)
      throw std::out_of_range("index " + std::to_string(rows[i]) + " is out of range for " +
                              std::to_string(many) + " rows");
}

std::vector<int64_t> first_live(const Sequences& s, const int64_t* lengths) {
  std::vector<int64_t> first(s.batch + 1, 0);
  for (int64_t b = 0; b < s.batch; b++)
    first[b + 1] = first[b] + (lengths ? std::min(std::max<int64_t>(lengths[b], 0), s.steps)
                                       : s.steps);
  return first;
}

void add_take_live(Program& program, Sequences s, int x, int out, int64_t width) {
  typed_step(program, "take_live", x, {x, s.lengths, out}, [=](auto use) {
    Grid<typename decltype(use)::Type> from{use(x), s.steps, width};
    each_sequence(s, use.numbers(s.lengths), width, [&](int64_t b, int64_t live, int64_t first) {
      copy(use(out) + first * width, from.at(b, 0), live * width);
    });
  });
}

void add_put_live(Program& program, Sequences s, int x, int out, int64_t width) {
  typed_step(program, "put_live", x, {x, s.lengths, out}, [=](auto use) {
    Grid<typename decltype(use)::Type> to{use(out), s.steps, width};
    each_sequence(s, use.numbers(s.lengths), width, [&](int64_t b, int64_t live, int64_t first) {
      copy(to.at(b, 0), use(x) + first * width, live * width);
      clear_padding(to, b, live);
    });
  });
}

void add_sum_live(Program& program, Sequences s, int tokens, int x, int out, int64_t words,
                  int64_t width) {
  typed_step(program, "sum_live", x, {tokens, x, s.lengths, out}, [=](auto use) {
    std::vector<int64_t> first = first_live(s, use.numbers(s.lengths));
    const int64_t* token = use.numbers(tokens);
    std::memset(use(out), 0, words * width * sizeof(*use(out)));
    // Threads share columns, not rows: every row is added up in the order of the steps.
    parallel(width, std::max<int64_t>(16, 65536 / std::max<int64_t>(first[s.batch], 1)),
             [&](int64_t begin, int64_t end) {
      for (int64_t b = 0; b < s.batch; b++)
        for (int64_t t = 0; t < first[b + 1] - first[b]; t++) {
          int64_t row = token ? row_of(token[b * s.steps + t], words) : 0;
          if (row < 0 || row >= words) continue;
          const auto* from = use(x) + (first[b] + t) * width + begin;
          for (int64_t j = 0; j < end - begin; j += 64 / sizeof(*from))    // a row further on
            __builtin_prefetch(from + 2 * width + j);
          add_row(use(out) + row * width + begin, from, end - begin);
        }
    });
  }, 1.0 * s.batch * s.steps * width);
}

namespace {

// The word at every live step, one sequence after another.
std::vector<int64_t> live_words(const Sequences& s, const std::vector<int64_t>& first,
                                const int64_t* token, int64_t words) {
  std::vector<int64_t> word;
  check_rows(token, s.batch * s.steps, words);
  for (int64_t b = 0; b < s.batch; b++)
    for (int64_t t = 0; t < first[b + 1] - first[b]; t++)
      word.push_back(row_of(token[b * s.steps + t], words));
  return word;
}

}  // namespace

void add_live_product(Program& program, Sequences s, int x_, int y_, int out_, int64_t m, int64_t n,
                      int tokens, int sums_, int64_t words) {
  bool doubles = program.at(out_).dtype == DType::F64;
  int64_t most = doubles ? panel_columns<double>() : panel_columns<float>();
  int64_t panels = (n + most - 1) / most;
  // Sums of one panel lie beside each other: in the results they would meet in the cache.
  int memory = packed_scratch(program, out_, m, n);
  int by_word = packed_scratch(program, out_, words, n);
  typed_step(program, "live_product", out_,
             {x_, y_, s.lengths, out_, tokens, sums_, memory, by_word},
             [=](auto use) {
    using T = typename decltype(use)::Type;
    const T *x = use(x_), *y = use(y_);
    T *out = use(out_), *sums = use(sums_);
    std::vector<int64_t> first = first_live(s, use.numbers(s.lengths)), word;
    int64_t rows = first[s.batch];
    if (sums && tokens >= 0) word = live_words(s, first, use.numbers(tokens), words);
    // Threads share columns, not rows: every entry is added up in the order of the steps.
    parallel(panels, 1 + static_cast<int64_t>(WORK / (1.0 * (rows + 1) * m * most)),
             [&](int64_t begin, int64_t end) {
      std::vector<T> packed(TERMS * most);
      std::vector<const T*> from(m);
      std::vector<T*> to(m);
      for (int64_t row = 0; row == 0 || row < rows; row += TERMS) {
        int64_t terms = std::min(TERMS, rows - row);
        for (int64_t i = 0; i < m; i++) from[i] = x + row * m + i;
        for (int64_t panel = begin; panel < end; panel++) {
          int64_t at = panel * most, width = std::min(most, n - at), wide = panel_width<T>(width);
          pack_panel(packed.data(), y + row * n, terms, at, width, n, 1);
          if (sums) {
            T* sum = use(by_word) + at * words;
            if (!row) std::fill_n(sum, words * wide, T(0));
            const int64_t* now = word.empty() ? nullptr : word.data() + row;
            add_by_word(sum, now, packed.data(), terms, wide);
          }
          for (int64_t i = 0; i < m; i++) to[i] = use(memory) + at * m + i * wide;
          int64_t next = panel + 1 < end ? row : row + TERMS;
          const T* ahead = y + next * n + (panel + 1 < end ? panel + 1 : begin) * most;
          int64_t coming = std::min(TERMS, rows - next);
          for (int64_t i = 0; i < m; i += GROUP) {
            int64_t many = std::min(GROUP, m - i);
            for (int64_t p = coming * i / m; p < coming * (i + many) / m; p++)
              fetch(ahead + p * n, most);
            multiply_panel<T>(many, terms, from.data() + i, m, packed.data(), wide,
                              row ? to.data() + i : nullptr, to.data() + i, 0, width, false);
          }
        }
      }
      for (int64_t at = begin * most; at < std::min(n, end * most); at += most) {
        int64_t width = std::min(most, n - at), wide = panel_width<T>(width);
        auto put = [&](T* to, const T* from, int64_t rows) {
          for (int64_t i = 0; i < rows; i++)
            copy(to + i * n + at, from + at * rows + i * wide, width);
        };
        put(out, use(memory), m);
        if (sums) put(sums, use(by_word), words);
      }
    });
  }, 2.0 * s.batch * s.steps * m * n);
}

}  // namespace gradatim
