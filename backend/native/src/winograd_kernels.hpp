// The arithmetic of Winograd's F(4x4, 3x3), read once for each instruction set: no include guard.
// The includer sets the vector length W and the target, and opens a namespace.

typedef float Vec __attribute__((vector_size(W * 4), aligned(4), may_alias));

INLINE Vec& at(float* p) { return *reinterpret_cast<Vec*>(p); }
INLINE const Vec& at(const float* p) { return *reinterpret_cast<const Vec*>(p); }

#include "pooled_kernels.hpp"

template <int N> struct Line { Vec at[N]; };

// The one-dimensional transforms; `get(i)` gives element i of a line.
template <class Get> INLINE Line<6> from_input(Get get) {                // 6 -> 6
  Vec x1 = get(1), x2 = get(2), x3 = get(3), x4 = get(4);
  Vec even_a = x4 - B2 * x2, odd_a = A * (x3 - B2 * x1);
  Vec even_b = x4 - A2 * x2, odd_b = B * (x3 - A2 * x1);
  return {{N0 * get(0) + (x4 - (A2 + B2) * x2), even_a + odd_a, even_a - odd_a,
           even_b + odd_b, even_b - odd_b, N0 * x1 + (get(5) - (A2 + B2) * x3)}};
}

template <class Get> INLINE Line<6> from_kernel(Get get) {               // 3 -> 6
  Vec x0 = get(0), x1 = get(1), x2 = get(2);
  Vec even_a = (x0 + A2 * x2) * (1 / NA), odd_a = x1 * (A / NA);
  Vec even_b = (x0 + B2 * x2) * (1 / NB), odd_b = x1 * (B / NB);
  return {{x0 * (1 / N0), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, x2}};
}

template <class Get> INLINE Line<6> from_gradient(Get get) {             // 4 -> 6
  Vec x0 = get(0), x1 = get(1), x2 = get(2), x3 = get(3);
  Vec even_a = (x0 + A2 * x2) * (1 / NA), odd_a = (x1 + A2 * x3) * (A / NA);
  Vec even_b = (x0 + B2 * x2) * (1 / NB), odd_b = (x1 + B2 * x3) * (B / NB);
  return {{x0 * (1 / N0), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, x3}};
}

template <class Get> INLINE Line<4> to_output(Get get) {                 // 6 -> 4
  Vec x1 = get(1), x2 = get(2), x3 = get(3), x4 = get(4);
  Vec sum_a = x1 + x2, less_a = x1 - x2, sum_b = x3 + x4, less_b = x3 - x4;
  return {{get(0) + (sum_a + sum_b), A * less_a + B * less_b, A2 * sum_a + B2 * sum_b,
           A3 * less_a + (B3 * less_b + get(5))}};
}

template <class Get> INLINE Line<3> to_kernel(Get get) {                 // 6 -> 3
  Vec x1 = get(1), x2 = get(2), x3 = get(3), x4 = get(4);
  Vec sum_a = x1 + x2, less_a = x1 - x2, sum_b = x3 + x4, less_b = x3 - x4;
  return {{get(0) + (sum_a + sum_b), A * less_a + B * less_b, A2 * sum_a + (B2 * sum_b + get(5))}};
}

// A transform along both axes: a square of IN x IN elements, by `get(row, column)`, becomes one of
// OUT x OUT, by `put(row, column, value)`.
#define BOTH_AXES(name, IN, OUT)                                                     \
  template <class Get, class Put> INLINE void name##_2d(Get get, Put put) {          \
    Vec half[OUT][IN];                                                               \
    _Pragma("GCC unroll 6") for (int j = 0; j < IN; j++) {                           \
      auto line = name([&](int i) { return get(i, j); });                            \
      _Pragma("GCC unroll 6") for (int i = 0; i < OUT; i++) half[i][j] = line.at[i]; \
    }                                                                                \
    _Pragma("GCC unroll 6") for (int i = 0; i < OUT; i++) {                          \
      auto line = name([&](int j) { return half[i][j]; });                           \
      _Pragma("GCC unroll 6") for (int j = 0; j < OUT; j++) put(i, j, line.at[j]);   \
    }                                                                                \
  }
BOTH_AXES(from_input, 6, 6)
BOTH_AXES(from_kernel, 3, 6)
BOTH_AXES(from_gradient, 4, 6)
BOTH_AXES(to_output, 6, 4)
BOTH_AXES(to_kernel, 6, 3)

// Walks over tiles; `pixels` gives the addresses of the SIZE x SIZE pixels of the tile it is at.
struct Walk {
  const Tiles& tiles;
  int64_t image, row, column;

  INLINE Walk(const Tiles& t, int64_t first)
      : tiles(t), image(first / (t.down * t.across)), row(first / t.across % t.down),
        column(first % t.across) {}

  INLINE void next() {
    if (++column < tiles.across) return;
    column = 0;
    if (++row < tiles.down) return;
    row = 0;
    image++;
  }

  template <int SIZE, class T> INLINE void pixels(T* x, T* outside, T* (*to)[SIZE]) const {
    int64_t y0 = row * tiles.size - tiles.top, x0 = column * tiles.size - tiles.left;
    T* line = x + ((image * tiles.height + y0) * tiles.width + x0) * tiles.channels;
    bool there[SIZE];
    _Pragma("GCC unroll 6") for (int b = 0; b < SIZE; b++)
      there[b] = static_cast<uint64_t>(x0 + b) < static_cast<uint64_t>(tiles.width);
    _Pragma("GCC unroll 6") for (int a = 0; a < SIZE; a++, line += tiles.width * tiles.channels) {
      bool inside = static_cast<uint64_t>(y0 + a) < static_cast<uint64_t>(tiles.height);
      _Pragma("GCC unroll 6") for (int b = 0; b < SIZE; b++)
        to[a][b] = inside & there[b] ? line + b * tiles.channels : outside;
    }
  }
};

// The memory between the first and the last pixel of tiles [first, end), asked for in POINTS parts
// while the products of other tiles keep the processor busy.
struct Ahead {
  const char* from;
  int64_t bytes;

  INLINE Ahead(const Tiles& t, const float* x, int64_t first, int64_t end) {
    int64_t a = first / t.across, b = (end - 1) / t.across;             // rows of tiles
    int64_t low = a / t.down * t.height + std::max<int64_t>(a % t.down * t.size - t.top, 0);
    int64_t high = b / t.down * t.height + std::min(b % t.down * t.size - t.top + 6, t.height);
    int64_t row = t.width * t.channels * 4;
    from = reinterpret_cast<const char*>(x) + low * row;
    bytes = first < end ? (high - low) * row : 0;
  }

  INLINE void ask(int part) const {
    for (int64_t at = bytes * part / POINTS / 64 * 64; at < bytes * (part + 1) / POINTS; at += 64)
      __builtin_prefetch(from + at, 0, 2);
  }
};

// Transformed tiles lie as (36, rows, channels), the planes `plane` floats apart.
APART void read_inputs(const Tiles& tiles, const float* x, int64_t first, int64_t count,
                       const float* zeros, float* to, int64_t plane) {
  Walk walk(tiles, first);
  for (int64_t i = 0; i < count; i++, walk.next()) {
    const float* pixel[6][6];
    walk.pixels<6>(x, zeros, pixel);
    for (int64_t c = 0; c < tiles.channels; c += W) {
      float* out = to + i * tiles.channels + c;
      from_input_2d([&](int a, int b) { return at(pixel[a][b] + c); },
                    [&](int a, int b, auto v) { at(out + (a * 6 + b) * plane) = v; });
    }
  }
}

APART void read_gradients(const Tiles& tiles, const float* x, int64_t first, int64_t count,
                          const float* zeros, float* to, int64_t plane, float* sums) {
  Walk walk(tiles, first);
  for (int64_t i = 0; i < count; i++, walk.next()) {
    const float* pixel[4][4];
    walk.pixels<4>(x, zeros, pixel);
    for (int64_t c = 0; c < tiles.channels; c += W) {
      float* out = to + i * tiles.channels + c;
      if (sums)
        for (int a = 0; a < 4; a++)
          at(sums + c) += (at(pixel[a][0] + c) + at(pixel[a][1] + c)) +
                          (at(pixel[a][2] + c) + at(pixel[a][3] + c));
      from_gradient_2d([&](int a, int b) { return at(pixel[a][b] + c); },
                       [&](int a, int b, auto v) { at(out + (a * 6 + b) * plane) = v; });
    }
  }
}

APART void write_outputs(const Tiles& tiles, const float* from, int64_t plane, int64_t first,
                         int64_t count, const float* bias, bool relu, float* dump, float* y,
                         float* moments, const float* weights) {
  Walk walk(tiles, first);
  int64_t n = tiles.channels;
  for (int64_t i = 0; i < count; i++, walk.next()) {
    float* pixel[4][4];
    walk.pixels<4>(y, dump, pixel);
    for (int64_t c = 0; c < tiles.channels; c += W) {
      const float* in = from + i * tiles.channels + c;
      Vec b = bias ? at(bias + c) : Vec{}, lowest = relu ? Vec{} : Vec{} - INFINITY;
      to_output_2d([&](int a, int b) { return at(in + (a * 6 + b) * plane); },
                   [&](int a, int b_, auto v) {
                     v += b;
                     at(pixel[a][b_] + c) = v < lowest ? lowest : v;
                   });
    }
    if (!moments) continue;
    if (!i) std::memcpy(moments, pixel[0][0], n * 4);       // near the mean: little cancels
    int64_t tall = std::min<int64_t>(4, tiles.height - walk.row * 4);
    int64_t wide = std::min<int64_t>(4, tiles.width - walk.column * 4);
    float w = weights ? weights[walk.image] : 1.0f;
    for (int64_t c = 0; c < n; c += W) {
      Vec sum{}, squares{};
      for (int64_t a = 0; a < tall; a++)
        for (int64_t b = 0; b < wide; b++) {
          Vec v = at(pixel[a][b] + c) - at(moments + c);
          sum += v;
          squares += v * v;
        }
      at(moments + n + c) += w * sum;
      at(moments + 2 * n + c) += w * squares;
      at(moments + 3 * n + c) += w * tall * wide;
    }
  }
}

// The same when only the largest of every 2x2 outputs is written, and its index unless it is missing.
APART void write_pooled(const Tiles& tiles, const float* from, int64_t plane, int64_t first,
                        int64_t count, const float* bias, bool relu, float* dump, float* y,
                        uint8_t* index) {
  Walk walk(tiles, first);
  for (int64_t i = 0; i < count; i++, walk.next()) {
    float* pixel[2][2];
    walk.pixels<2>(y, dump, pixel);
    for (int64_t c = 0; c < tiles.channels; c += W) {
      const float* in = from + i * tiles.channels + c;
      Vec b = bias ? at(bias + c) : Vec{}, value[4][4];
      to_output_2d([&](int a, int b) { return at(in + (a * 6 + b) * plane); },
                   [&](int a, int b_, auto v) { value[a][b_] = v + b; });
      for (int p = 0; p < 4; p++) {
        float* to = pixel[p / 2][p % 2];
        put_largest([&](int q) { return value[p / 2 * 2 + q / 2][p % 2 * 2 + q % 2]; }, relu,
                    to + c, index && to != dump ? index + (to - y) + c : nullptr);
      }
    }
  }
}

// c (rows, n) = a (rows, k) @ b (k, n); a block of R rows by N vectors stays in registers.
// K is k where it is known at compile time (addresses become constants), otherwise 0.
template <int R, int N, int K>
APART void product(const float* a, int64_t rows, int64_t k_, const float* b, int64_t n, float* c) {
  int64_t k = K ? K : k_;
  for (int64_t j = 0; j < n; j += N * W)
    for (int64_t r = 0; r < rows; r += R) {
      const float* x = a + r * k;
      const float* y = b + j;
      Vec sum[R][N] = {};
      for (int64_t i = 0; i < k; i++, x++, y += n) {
        Vec row[N];
        for (int v = 0; v < N; v++) row[v] = at(y + v * W);
        for (int q = 0; q < R; q++)
          for (int v = 0; v < N; v++) sum[q][v] += x[q * k] * row[v];
      }
      for (int q = 0; q < R; q++)
        for (int v = 0; v < N; v++) at(c + (r + q) * n + j + v * W) = sum[q][v];
    }
}

template <int K>
APART void products(const float* a, int64_t rows, int64_t k, const float* b, int64_t n, float* c) {
  int64_t sixes = (rows + 5) / 6 * 6, twelves = (rows + 11) / 12 * 12;
  if (W == 8) product<6, 2, K>(a, sixes, k, b, n, c);
  else if (n % 64 == 0) product<6, 4, K>(a, sixes, k, b, n, c);
  else if (n % 32 == 0) product<12, 2, K>(a, twelves, k, b, n, c);
  else product<12, 1, K>(a, twelves, k, b, n, c);
}

// c (m, n) += a (k, m) transposed @ b (k, n).
template <int R, int N>
INLINE void outer_block(const float* a, int64_t m, const float* b, int64_t n, int64_t k, float* c) {
  Vec sum[R][N];
  for (int r = 0; r < R; r++)
    for (int v = 0; v < N; v++) sum[r][v] = at(c + r * n + v * W);
  for (int64_t i = 0; i < k; i++) {
    Vec row[N];
    for (int v = 0; v < N; v++) row[v] = at(b + i * n + v * W);
    for (int r = 0; r < R; r++)
      for (int v = 0; v < N; v++) sum[r][v] += a[i * m + r] * row[v];
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < N; v++) at(c + r * n + v * W) = sum[r][v];
}

template <int R, int N>
APART void outer(const float* a, int64_t m, const float* b, int64_t n, int64_t k, float* c) {
  for (int64_t j = 0; j < n; j += N * W)
    for (int64_t i = 0; i < m; i += R)
      outer_block<R, N>(a + i, m, b + j, n, k, c + i * n + j);
}

void forward(const Job& job, const float* x, const float* u, const float* bias, float* y,
             uint8_t* index, float* moments, const float* weights, int64_t begin, int64_t end) {
  int64_t rows = job.rows(), k = job.in.channels, n = job.out.channels;
  int64_t plane = job.plane(k), result = job.plane(n);
  float* zeros = scratch(POINTS * (plane + result) + k + n);
  float* dump = zeros + k;
  float* v = dump + n;
  float* m = v + POINTS * plane;
  std::memset(zeros, 0, k * 4);
  for (int64_t i = begin; i < end; i += rows) {
    int64_t count = std::min(rows, end - i);
    read_inputs(job.in, x, i, count, zeros, v, plane);
    Ahead next(job.in, x, i + count, std::min(i + count + rows, end)), out(job.out, y, i, i + count);
    for (int p = 0; p < POINTS; p++) {
      const float* a = v + p * plane;
      const float* b = u + p * k * n;
      float* c = m + p * result;
      next.ask(p);
      out.ask(p);
      if (k == 16) products<16>(a, count, k, b, n, c);
      else if (k == 32) products<32>(a, count, k, b, n, c);
      else if (k == 64) products<64>(a, count, k, b, n, c);
      else products<0>(a, count, k, b, n, c);
    }
    if (job.pooled) {
      write_pooled(job.out, m, result, i, count, bias, job.relu, dump, y, index);
      continue;
    }
    float* mine = moments ? moments + i / rows * 4 * n : nullptr;
    if (mine) std::memset(mine, 0, 4 * n * 4);
    write_outputs(job.out, m, result, i, count, bias, job.relu, dump, y, mine, weights);
  }
}

// Adds the products of tiles [begin, end) to sums (36, in, out) and the gradients to bias (out,).
void accumulate(const Job& job, const float* x, const float* g, float* sums, float* bias,
                int64_t begin, int64_t end) {
  int64_t rows = job.rows(), m = job.in.channels, n = job.out.channels;
  int64_t plane = job.plane(m), other = job.plane(n);
  float* zeros = scratch(POINTS * (plane + other) + std::max(m, n));
  float* v = zeros + std::max(m, n);
  float* w = v + POINTS * plane;
  std::memset(zeros, 0, std::max(m, n) * 4);
  for (int64_t i = begin; i < end; i += rows) {
    int64_t count = std::min(rows, end - i);
    read_inputs(job.in, x, i, count, zeros, v, plane);
    read_gradients(job.out, g, i, count, zeros, w, other, bias);
    int64_t after = std::min(i + count + rows, end);
    Ahead next(job.in, x, i + count, after), gradients(job.out, g, i + count, after);
    for (int p = 0; p < POINTS; p++) {
      const float* a = v + p * plane;
      const float* b = w + p * other;
      float* c = sums + p * m * n;
      next.ask(p);
      gradients.ask(p);
      if (W == 8) outer<4, 2>(a, m, b, n, count, c);
      else if (n % 64 == 0) outer<4, 4>(a, m, b, n, count, c);
      else if (n % 32 == 0) outer<8, 2>(a, m, b, n, count, c);
      else outer<16, 1>(a, m, b, n, count, c);
    }
  }
}

// kernel (3, 3, rows of `columns`) -> (36, ...), for the rows [begin, end) of the last two axes.
void transform_kernel(const float* kernel, int64_t size, float* u, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += W)
    from_kernel_2d([&](int a, int b) { return at(kernel + (a * 3 + b) * size + i); },
                   [&](int a, int b, auto v) { at(u + (a * 6 + b) * size + i) = v; });
}

void kernel_gradient(const float* sums, int64_t parts, int64_t size, float* kernel,
                     int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += W) {
    auto sum = [&](int a, int b) {
      Vec v = at(sums + (a * 6 + b) * size + i);
      for (int64_t part = 1; part < parts; part++)
        v += at(sums + (part * POINTS + a * 6 + b) * size + i);
      return v;
    };
    to_kernel_2d(sum, [&](int a, int b, auto v) { at(kernel + (a * 3 + b) * size + i) = v; });
  }
}
