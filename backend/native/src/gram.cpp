// Rows are packed, centred, into panels that stay in cache; tiles of the upper triangle are summed
// in registers. Each strip of rows has a sum of its own, so that the order of additions is fixed.
#include "gram.hpp"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

namespace gradatim {
namespace {

#define INLINE inline __attribute__((always_inline))

constexpr int64_t PACKED = 64;    // rows packed at a time: panels of them share the first cache
constexpr int64_t BURST = 16;     // rows multiplied between requests to memory
constexpr int64_t STRIP = 2048;   // rows with one sum, at least
constexpr int PANEL = 3;          // vectors side by side in a tile

struct Parts {
  Table x;
  const double *y, *centre, *root;
  int64_t n, p, t;
  int64_t columns() const { return p + t + 1; }      // in the order [x, y, 1]
};

// Columns in whole vectors: the side of a strip's sum.
INLINE int64_t padded(int64_t columns, int64_t lanes) {
  return (columns + lanes - 1) / lanes * lanes;
}

// Asks for the rows that are packed next, a few cache lines at a time: more than the processor can
// wait for at once would hold up the tiles.
struct Ahead {
  const char *at, *end;
  int64_t step;
  INLINE void some() {
    const char* stop = std::min(end, at + step);
    for (; at < stop; at += 64) __builtin_prefetch(at, 0, 2);
  }
};

template <class T, int WIDTH>
INLINE void pack(const Parts& a, const T* x, int64_t first, int64_t rows, double* packed) {
  const int64_t panel = PACKED * WIDTH, whole = a.p / WIDTH;
  const bool along = a.x.column == 1;
  for (int64_t k = 0; k < rows; k++) {
    const double root = a.root ? a.root[first + k] : 1.0;
    const T* row = x + (first + k) * a.x.row;
    const double* y = a.y + (first + k) * a.t;
    double* to = packed + k * WIDTH;
    const auto place = [&](int64_t c) -> double& { return to[c / WIDTH * panel + c % WIDTH]; };
    if (along) {
      for (int64_t q = 0; q < whole; q++)
        for (int c = 0; c < WIDTH; c++)
          to[q * panel + c] = (row[q * WIDTH + c] - a.centre[q * WIDTH + c]) * root;
      for (int64_t c = whole * WIDTH; c < a.p; c++) place(c) = (row[c] - a.centre[c]) * root;
    }
    for (int64_t c = 0; c < a.t; c++) place(a.p + c) = (y[c] - a.centre[a.p + c]) * root;
    place(a.p + a.t) = root;
  }
  if (along) return;
  for (int64_t c = 0; c < a.p; c++) {                // columns that lie whole are read whole
    double* to = packed + c / WIDTH * panel + c % WIDTH;
    const T* column = x + first * a.x.row + c * a.x.column;
    for (int64_t k = 0; k < rows; k++)
      to[k * WIDTH] = (column[k * a.x.row] - a.centre[c]) *
                      (a.root ? a.root[first + k] : 1.0);
  }
}

// sum += left' right for LANES columns on the left, N vectors of columns on the right.
template <class V, int N>
INLINE void tile(int64_t rows, const double* left, const double* right, double* sum, int64_t side,
                 Ahead& ahead) {
  constexpr int LANES = sizeof(V) / 8, WIDTH = PANEL * LANES;
  V s[LANES][N];
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < N; j++) s[i][j] = V{};
  for (int64_t k = 0; k < rows;) {
    ahead.some();
    for (const int64_t stop = std::min(rows, k + BURST); k < stop; k++) {
      V b[N];
      for (int j = 0; j < N; j++) std::memcpy(&b[j], right + k * WIDTH + j * LANES, sizeof(V));
      for (int i = 0; i < LANES; i++)
        for (int j = 0; j < N; j++) s[i][j] += left[k * WIDTH + i] * b[j];
    }
  }
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < N; j++) {
      V v;
      std::memcpy(&v, sum + i * side + j * LANES, sizeof(V));
      v += s[i][j];
      std::memcpy(sum + i * side + j * LANES, &v, sizeof(V));
    }
}

template <class V>
INLINE void add_packed(int64_t rows, const double* packed, int64_t blocks, double* sum,
                       Ahead& ahead) {
  constexpr int LANES = sizeof(V) / 8, WIDTH = PANEL * LANES;
  const int64_t side = blocks * LANES;
  for (int64_t right = 0; right < blocks; right += PANEL)
    for (int64_t left = 0; left < std::min(right + PANEL, blocks); left++) {
      const int64_t from = std::max(left, right);
      const double* a = packed + left / PANEL * PACKED * WIDTH + left % PANEL * LANES;
      const double* b = packed + right / PANEL * PACKED * WIDTH + (from - right) * LANES;
      double* c = sum + left * LANES * side + from * LANES;
      switch (std::min(right + PANEL, blocks) - from) {
        case 1: tile<V, 1>(rows, a, b, c, side, ahead); break;
        case 2: tile<V, 2>(rows, a, b, c, side, ahead); break;
        case 3: tile<V, 3>(rows, a, b, c, side, ahead); break;
      }
    }
}

// Strips [begin, end), each with a sum of its own.
template <class V, class T>
INLINE void strips(const Parts& a, int64_t strip, int64_t begin, int64_t end, double* sums) {
  constexpr int LANES = sizeof(V) / 8, WIDTH = PANEL * LANES;
  const T* x = static_cast<const T*>(a.x.data);
  const int64_t side = padded(a.columns(), LANES), blocks = side / LANES;
  const int64_t panels = (blocks + PANEL - 1) / PANEL, last = std::min(a.n, end * strip);
  const int64_t requests = std::max<int64_t>(1, blocks * (panels + 1) / 2 * (PACKED / BURST));
  Aligned memory(panels * PACKED * WIDTH * sizeof(double));
  double* packed = reinterpret_cast<double*>(memory.data);
  std::memset(packed, 0, memory.bytes);              // columns that pad stay zero
  for (int64_t s = begin; s < end; s++) {
    double* sum = sums + s * side * side;
    std::memset(sum, 0, side * side * sizeof(double));
    const int64_t stop = std::min(a.n, (s + 1) * strip);
    for (int64_t first = s * strip; first < stop; first += PACKED) {
      const int64_t rows = std::min(PACKED, stop - first), next = first + rows;
      pack<T, WIDTH>(a, x, first, rows, packed);
      Ahead ahead{nullptr, nullptr, 0};
      if (a.x.column == 1 && a.x.row == a.p && next < last) {
        const int64_t more = std::min(PACKED, last - next) * a.p * sizeof(T);
        const char* at = reinterpret_cast<const char*>(x + next * a.p);
        ahead = {at, at + more, (more / requests + 64) / 64 * 64};
      }
      add_packed<V>(rows, packed, blocks, sum, ahead);
    }
  }
}

typedef double V8 __attribute__((vector_size(64)));
typedef double V4 __attribute__((vector_size(32)));
typedef double V2 __attribute__((vector_size(16)));
using Strips = void (*)(const Parts&, int64_t, int64_t, int64_t, double*);

#define STRIPS(name, V)                                                                       \
  void name(const Parts& a, int64_t strip, int64_t begin, int64_t end, double* sums) {         \
    if (a.x.single) strips<V, float>(a, strip, begin, end, sums);                              \
    else strips<V, double>(a, strip, begin, end, sums);                                        \
  }
__attribute__((target("arch=x86-64-v4"))) STRIPS(strips_v4, V8)
__attribute__((target("arch=x86-64-v3"))) STRIPS(strips_v3, V4)
STRIPS(strips_any, V2)

struct Choice {
  Strips strips;
  int64_t lanes;
};

const Choice& choice() {
  static const Choice one = __builtin_cpu_supports("x86-64-v4") ? Choice{strips_v4, 8}
                          : __builtin_cpu_supports("x86-64-v3") ? Choice{strips_v3, 4}
                                                                : Choice{strips_any, 2};
  return one;
}

}  // namespace

void gram(const Table& x, const double* y, const double* centre, const double* root, int64_t n,
          int64_t p, int64_t t, double* out) {
  const Parts parts{x, y, centre, root, n, p, t};
  const Choice& c = choice();
  const int64_t columns = parts.columns(), side = padded(columns, c.lanes);
  const int64_t strip = std::max(STRIP, padded(8 * columns, PACKED));
  const int64_t many = (n + strip - 1) / strip;
  Aligned memory(std::max<int64_t>(1, many) * side * side * sizeof(double));
  double* sums = reinterpret_cast<double*>(memory.data);
  // Whichever thread is free takes the next strips: a busy processor holds nobody up.
  const int64_t threads = omp_get_max_threads(), take = std::max<int64_t>(1, many / (8 * threads));
  std::atomic<int64_t> next{0};
  parallel(std::min(many, threads), 1, [&](int64_t, int64_t) {
    for (int64_t begin; (begin = next.fetch_add(take)) < many;)
      c.strips(parts, strip, begin, std::min(many, begin + take), sums);
  });
  const auto place = [&](int64_t column) { return column == columns - 1 ? 0 : column + 1; };
  parallel(columns, std::max<int64_t>(1, 65536 / (columns * (many + 1))),
           [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
      for (int64_t j = i; j < columns; j++) {
        double total = 0.0;
        for (int64_t s = 0; s < many; s++) total += sums[(s * side + i) * side + j];
        out[place(i) * columns + place(j)] = out[place(j) * columns + place(i)] = total;
      }
  });
}

void add_gram(Program& program, int x, int y, int centre, int root, int out) {
  const Value& v = program.at(x);
  const int64_t n = v.shape[0], p = v.shape[1], t = program.at(y).shape[1], k = p + t + 1;
  const bool single = v.dtype == DType::F32;
  std::vector<int> uses{x, y, centre, out};
  if (root >= 0) uses.push_back(root);
  program.step("gram", uses, [=](char* const* at) {
    const auto doubles = [&](int value) { return reinterpret_cast<double*>(at[value]); };
    gram({at[x], single, p, 1}, doubles(y), doubles(centre), root < 0 ? nullptr : doubles(root),
         n, p, t, doubles(out));
  }, static_cast<double>(n) * k * (k + 1));
}

}  // namespace gradatim
