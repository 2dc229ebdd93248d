// Steps within the lengths of sequences, packed, put back, and added up word by word.
#include "sequences.hpp"

#include <stdexcept>

namespace gradatim {
namespace {

#define LOOPS(T)                                                                             \
  VECTORISED void add_row(T* __restrict sum, const T* x, int64_t n) {                        \
    IVDEP for (int64_t j = 0; j < n; j++) sum[j] += x[j];                                    \
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

void add_clear_live(Program& program, Sequences s, int x, int64_t width) {
  int64_t size = program.at(x).size;
  typed_step(program, "clear_live", x, {x, s.lengths}, [=](auto use) {
    int64_t live = first_live(s, use.numbers(s.lengths)).back() * width;
    std::memset(use(x) + live, 0, (size - live) * sizeof(*use(x)));
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

}  // namespace gradatim
