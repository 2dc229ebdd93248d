// LSTM, GRU and simple nets: a product of a few rows per step, then the cell; no waiting between
// threads, because rows of a batch never meet. Formulas: backend/ops/recurrent_*.py.
#include "recurrent.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include <omp.h>

#include "products.hpp"
#include "vector_math.hpp"

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")

namespace gradatim {
namespace {

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
  int64_t threads = small ? 1 : std::min<int64_t>(omp_get_max_threads(), s.batch);
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

void copy(float* to, const float* from, int64_t n) {
  if (from) std::memcpy(to, from, n * 4);
  else std::memset(to, 0, n * 4);
}

// Zeros from the row's length on.
void clear_padding(const Grid<float>& grid, int64_t b, int64_t length) {
  std::memset(grid.at(b, length), 0, (grid.steps - length) * grid.width * 4);
}

// The value of a padded step in all others.
void spread_padding(const Grid<float>& grid, int64_t b, int64_t length, const float* value) {
  for (int64_t t = length; t < grid.steps; t++)
    if (grid.at(b, t) != value) copy(grid.at(b, t), value, grid.width);
}

// ---- cells -------------------------------------------------------------------------------------

VECTORISED void lstm_gates(float* __restrict z, int64_t n) {
  IVDEP for (int64_t j = 0; j < 2 * n; j++) z[j] = sigmoid(z[j]);
  IVDEP for (int64_t j = 2 * n; j < 3 * n; j++) z[j] = math::tanh(z[j]);
  IVDEP for (int64_t j = 3 * n; j < 4 * n; j++) z[j] = sigmoid(z[j]);
}

VECTORISED void lstm_state(const float* z, const float* before, float* __restrict c,
                           float* __restrict h, int64_t n) {
  const float *i = z, *f = z + n, *candidate = z + 2 * n, *o = z + 3 * n;
  IVDEP for (int64_t j = 0; j < n; j++) {
    float next = f[j] * before[j] + i[j] * candidate[j];
    c[j] = next;
    h[j] = o[j] * math::tanh(next);
  }
}

VECTORISED void lstm_back(const float* z, const float* before, const float* c, const float* dy,
                          const float* dh, float* __restrict dc, float* __restrict dz, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++) {
    float i = z[j], f = z[n + j], candidate = z[2 * n + j], o = z[3 * n + j];
    float tanh_c = math::tanh(c[j]);
    float by_h = dh[j] + dy[j];
    float by_c = dc[j] + by_h * (o * (1.0f - tanh_c * tanh_c));
    dz[j] = by_c * (candidate * i * (1.0f - i));
    dz[n + j] = by_c * (before[j] * f * (1.0f - f));
    dz[2 * n + j] = by_c * (i * (1.0f - candidate * candidate));
    dz[3 * n + j] = by_h * (tanh_c * o * (1.0f - o));
    dc[j] = by_c * f;
  }
}

// gates (3n) hold x W + b, term (3n) h R + b'; inner gets the candidate's term.
VECTORISED void gru_gates(float* __restrict gates, const float* term, float* __restrict inner,
                          int64_t n) {
  IVDEP for (int64_t j = 0; j < 2 * n; j++) gates[j] = sigmoid(gates[j] + term[j]);
  IVDEP for (int64_t j = 0; j < n; j++) {
    inner[j] = term[2 * n + j];
    gates[2 * n + j] = math::tanh(gates[2 * n + j] + gates[n + j] * inner[j]);
  }
}

// Without reset_after, before the candidate: z and r, and inner = r h.
VECTORISED void gru_reset(float* __restrict gates, const float* h, float* __restrict inner,
                          int64_t n) {
  IVDEP for (int64_t j = 0; j < 2 * n; j++) gates[j] = sigmoid(gates[j]);
  IVDEP for (int64_t j = 0; j < n; j++) inner[j] = gates[n + j] * h[j];
}

VECTORISED void tanh_of(float* __restrict z, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++) z[j] = math::tanh(z[j]);
}

VECTORISED void gru_state(const float* gates, const float* before, float* __restrict h, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++)
    h[j] = (before[j] - gates[2 * n + j]) * gates[j] + gates[2 * n + j];
}

// da (3n) and db (3n): cotangents of x W + b and of h R + b'; dh becomes what goes past the gates.
VECTORISED void gru_back_after(const float* gates, const float* inner, const float* before,
                               const float* dy, float* __restrict dh, float* __restrict da,
                               float* __restrict db, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++) {
    float z = gates[j], r = gates[n + j], candidate = gates[2 * n + j];
    float total = dh[j] + dy[j];
    float dz = total * ((before[j] - candidate) * z * (1.0f - z));
    float dc = total * ((1.0f - z) * (1.0f - candidate * candidate));
    float dr = dc * (inner[j] * r * (1.0f - r));
    da[j] = db[j] = dz;
    da[n + j] = db[n + j] = dr;
    da[2 * n + j] = dc;
    db[2 * n + j] = dc * r;
    dh[j] = total * z;
  }
}

VECTORISED void gru_back_first(const float* gates, const float* before, const float* dy,
                               float* __restrict dh, float* __restrict da, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++) {
    float z = gates[j], candidate = gates[2 * n + j];
    float total = dh[j] + dy[j];
    da[j] = total * ((before[j] - candidate) * z * (1.0f - z));
    da[2 * n + j] = total * ((1.0f - z) * (1.0f - candidate * candidate));
    dh[j] = total * z;
  }
}

VECTORISED void gru_back_second(const float* gates, const float* before, const float* d_inner,
                                float* __restrict dh, float* __restrict da, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++) {
    float r = gates[n + j];
    da[n + j] = d_inner[j] * (before[j] * r * (1.0f - r));
    dh[j] += d_inner[j] * r;
  }
}

enum class Activation { Tanh, Relu, Sigmoid, Linear };

Activation activation_of(const std::string& name) {
  return name == "tanh" ? Activation::Tanh : name == "relu" ? Activation::Relu
       : name == "sigmoid" ? Activation::Sigmoid : Activation::Linear;
}

VECTORISED void activate(float* __restrict h, Activation kind, int64_t n) {
  if (kind == Activation::Tanh) {
    IVDEP for (int64_t j = 0; j < n; j++) h[j] = math::tanh(h[j]);
  } else if (kind == Activation::Sigmoid) {
    IVDEP for (int64_t j = 0; j < n; j++) h[j] = sigmoid(h[j]);
  } else if (kind == Activation::Relu) {
    IVDEP for (int64_t j = 0; j < n; j++) h[j] = h[j] > 0.0f || h[j] != h[j] ? h[j] : 0.0f;
  }
}

VECTORISED void simple_back(const float* y, const float* dy, const float* dh, Activation kind,
                            float* __restrict dz, int64_t n) {
  IVDEP for (int64_t j = 0; j < n; j++) dz[j] = dh[j] + dy[j];
  if (kind == Activation::Tanh) {
    IVDEP for (int64_t j = 0; j < n; j++) dz[j] *= 1.0f - y[j] * y[j];
  } else if (kind == Activation::Sigmoid) {
    IVDEP for (int64_t j = 0; j < n; j++) dz[j] *= y[j] * (1.0f - y[j]);
  } else if (kind == Activation::Relu) {
    IVDEP for (int64_t j = 0; j < n; j++) dz[j] *= y[j] > 0.0f ? 1.0f : 0.0f;
  }
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

std::vector<int> used(std::vector<int> values) {
  values.erase(std::remove(values.begin(), values.end(), -1), values.end());
  return values;
}

int scratch(Program& program, int64_t floats) {
  return program.value({floats}, "float32", Home::Arena);
}

double flops_of(const Sequences& s, int gates) {
  return 1.0 * s.batch * s.steps * s.units * (2.0 * gates * s.units + 10 * gates);
}

}  // namespace

void add_lstm(Program& program, Sequences s, int gates, int recurrent, int bias, int h0, int c0,
              int outputs, int h, int c, int cells) {
  int64_t n = s.units, wide = 4 * n;
  int packed = scratch(program, Packed::size(n, wide)), zeros = scratch(program, n);
  program.step("lstm", used({gates, recurrent, bias, h0, c0, s.lengths, outputs, h, c, cells, packed,
                             zeros}),
               [=](char* const* at) {
    Use use{at};
    Packed matrix;
    matrix.pack(use(packed), use(recurrent), n, wide, wide, 1);
    std::memset(use(zeros), 0, n * 4);
    Grid<float> z{use(gates), s.steps, wide}, y{use(outputs), s.steps, n}, cell{use(cells), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block(s, use.lengths(s.lengths), [&](Rows& rows) {
      int64_t count = rows.count();
      std::vector<const float*> state(count), memory(count);
      for (int64_t i = 0; i < count; i++) {
        state[i] = use(h0) ? use(h0) + rows.row[i] * n : use(zeros);
        memory[i] = use(c0) ? use(c0) + rows.row[i] * n : use(zeros);
        if (rows.length[i] < s.steps && s.reverse)
          spread_padding(cell, rows.row[i], rows.length[i], memory[i]);
      }
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && time.turns(rows.length[active - 1]) <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++) {
          float* row = z.at(rows.row[i], time.step(turn, rows.length[i]));
          if (time.dead(turn, rows.length[i])) copy(row, use(bias), wide);
          rows.add[i] = rows.out[i] = row;
        }
        matrix.multiply(active, state.data(), rows.add.data(), rows.out.data());
        for (int64_t i = 0; i < active; i++) {
          lstm_gates(rows.out[i], n);
          if (time.dead(turn, rows.length[i])) continue;
          int64_t b = rows.row[i], t = time.step(turn, rows.length[i]);
          lstm_state(rows.out[i], memory[i], cell.at(b, t), y.at(b, t), n);
          state[i] = y.at(b, t);
          memory[i] = cell.at(b, t);
        }
      }
      for (int64_t i = 0; i < count; i++) {
        int64_t b = rows.row[i], length = rows.length[i];
        copy(use(h) + b * n, state[i], n);
        copy(use(c) + b * n, memory[i], n);
        if (length == s.steps) continue;
        clear_padding(y, b, length);
        spread_padding(z, b, length, z.at(b, s.reverse ? s.steps - 1 : length));
        if (!s.reverse) spread_padding(cell, b, length, memory[i]);
      }
    });
  }, flops_of(s, 4));
}

void add_lstm_gradient(Program& program, Sequences s, int dy, int dh, int dc, int outputs,
                       int gates, int cells, int recurrent, int h0, int c0, int dz, int before,
                       int dh0, int dc0) {
  int64_t n = s.units, wide = 4 * n;
  int packed = scratch(program, Packed::size(wide, n)), zeros = scratch(program, n);
  program.step("lstm_gradient", used({dy, dh, dc, outputs, gates, cells, recurrent, h0, c0,
                                      s.lengths, dz, before, dh0, dc0, packed, zeros}),
               [=](char* const* at) {
    Use use{at};
    Packed matrix;
    matrix.pack(use(packed), use(recurrent), wide, n, 1, wide);
    std::memset(use(zeros), 0, n * 4);
    Grid<float> z{use(gates), s.steps, wide}, d{use(dz), s.steps, wide}, y{use(outputs), s.steps, n},
        cell{use(cells), s.steps, n}, g{use(dy), s.steps, n}, start{use(before), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block(s, use.lengths(s.lengths), [&](Rows& rows) {
      int64_t count = rows.count();
      for (int64_t i = 0; i < count; i++) {
        int64_t b = rows.row[i];
        copy(use(dh0) + b * n, use(dh) + b * n, n);
        copy(use(dc0) + b * n, use(dc) + b * n, n);
        clear_padding(d, b, rows.length[i]);
        clear_padding(start, b, rows.length[i]);
      }
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && rows.length[active - 1] <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++) {
          int64_t b = rows.row[i], t = time.back(turn, rows.length[i]);
          int64_t past = time.before(t, rows.length[i]);
          const float* c = past >= 0 ? cell.at(b, past) : use(c0) ? use(c0) + b * n : use(zeros);
          copy(start.at(b, t), past >= 0 ? y.at(b, past) : use(h0) ? use(h0) + b * n : nullptr, n);
          lstm_back(z.at(b, t), c, cell.at(b, t), g.at(b, t), use(dh0) + b * n, use(dc0) + b * n,
                    d.at(b, t), n);
          rows.x[i] = d.at(b, t);
          rows.out[i] = use(dh0) + b * n;
        }
        matrix.multiply(active, rows.x.data(), nullptr, rows.out.data());
      }
    });
  }, flops_of(s, 4));
}

void add_gru(Program& program, Sequences s, bool reset_after, int gates, int recurrent, int bias,
             int h0, int outputs, int h, int inner) {
  int64_t n = s.units, wide = 3 * n;
  int packed = scratch(program, Packed::size(n, wide) + Packed::size(n, n));
  int zeros = scratch(program, n), terms = scratch(program, s.batch * wide);
  program.step("gru", used({gates, recurrent, bias, h0, s.lengths, outputs, h, inner, packed, zeros,
                            terms}),
               [=](char* const* at) {
    Use use{at};
    Packed first, second;
    first.pack(use(packed), use(recurrent), n, reset_after ? wide : 2 * n, wide, 1);
    if (!reset_after)
      second.pack(use(packed) + Packed::size(n, wide), use(recurrent) + 2 * n, n, n, wide, 1);
    std::memset(use(zeros), 0, n * 4);
    Grid<float> z{use(gates), s.steps, wide}, y{use(outputs), s.steps, n}, part{use(inner), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block(s, use.lengths(s.lengths), [&](Rows& rows) {
      int64_t count = rows.count();
      std::vector<const float*> state(count);
      std::vector<float*> row(count), term(count);
      for (int64_t i = 0; i < count; i++) {
        state[i] = use(h0) ? use(h0) + rows.row[i] * n : use(zeros);
        term[i] = use(terms) + rows.row[i] * wide;
      }
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && time.turns(rows.length[active - 1]) <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++) {
          int64_t t = time.step(turn, rows.length[i]);
          row[i] = z.at(rows.row[i], t);
          if (time.dead(turn, rows.length[i])) copy(row[i], use(bias), wide);
          rows.out[i] = part.at(rows.row[i], t);
          rows.add[i] = reset_after ? use(bias) + wide : row[i];
        }
        if (reset_after) {
          first.multiply(active, state.data(), rows.add.data(), term.data());
          for (int64_t i = 0; i < active; i++) gru_gates(row[i], term[i], rows.out[i], n);
        } else {
          first.multiply(active, state.data(), rows.add.data(), row.data());
          for (int64_t i = 0; i < active; i++) {
            gru_reset(row[i], state[i], rows.out[i], n);
            rows.x[i] = rows.out[i];
            row[i] += 2 * n;
            rows.add[i] = row[i];
          }
          second.multiply(active, rows.x.data(), rows.add.data(), row.data());
          for (int64_t i = 0; i < active; i++) {
            tanh_of(row[i], n);
            row[i] -= 2 * n;
          }
        }
        for (int64_t i = 0; i < active; i++) {
          if (time.dead(turn, rows.length[i])) continue;
          float* next = y.at(rows.row[i], time.step(turn, rows.length[i]));
          gru_state(row[i], state[i], next, n);
          state[i] = next;
        }
      }
      for (int64_t i = 0; i < count; i++) {
        int64_t b = rows.row[i], length = rows.length[i], example = s.reverse ? s.steps - 1 : length;
        copy(use(h) + b * n, state[i], n);
        if (length == s.steps) continue;
        clear_padding(y, b, length);
        spread_padding(z, b, length, z.at(b, example));
        spread_padding(part, b, length, part.at(b, example));
      }
    });
  }, flops_of(s, 3));
}

void add_gru_gradient(Program& program, Sequences s, bool reset_after, int dy, int dh, int outputs,
                      int gates, int inner, int recurrent, int h0, int da, int before, int dh0) {
  int64_t n = s.units, wide = 3 * n;
  int packed = scratch(program, Packed::size(wide, n) + Packed::size(n, n));
  int zeros = scratch(program, n), parts = scratch(program, s.batch * n);
  program.step("gru_gradient", used({dy, dh, outputs, gates, inner, recurrent, h0, s.lengths, da,
                                     before, dh0, packed, zeros, parts}),
               [=](char* const* at) {
    Use use{at};
    Packed first, second;
    first.pack(use(packed), use(recurrent), reset_after ? wide : 2 * n, n, 1, wide);
    if (!reset_after)
      second.pack(use(packed) + Packed::size(wide, n), use(recurrent) + 2 * n, n, n, 1, wide);
    std::memset(use(zeros), 0, n * 4);
    Grid<float> z{use(gates), s.steps, wide}, a{use(da), s.steps, wide},
        b_{use(da) + (reset_after ? s.batch * s.steps * wide : 0), s.steps, wide},
        y{use(outputs), s.steps, n}, part{use(inner), s.steps, n}, g{use(dy), s.steps, n},
        start{use(before), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block(s, use.lengths(s.lengths), [&](Rows& rows) {
      int64_t count = rows.count();
      std::vector<float*> d_inner(count);
      for (int64_t i = 0; i < count; i++) {
        int64_t b = rows.row[i];
        d_inner[i] = use(parts) + b * n;
        copy(use(dh0) + b * n, use(dh) + b * n, n);
        for (auto& grid : {a, b_, start}) clear_padding(grid, b, rows.length[i]);
      }
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && rows.length[active - 1] <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++) {
          int64_t b = rows.row[i], t = time.back(turn, rows.length[i]);
          int64_t past = time.before(t, rows.length[i]);
          float* state = start.at(b, t);
          copy(state, past >= 0 ? y.at(b, past) : use(h0) ? use(h0) + b * n : nullptr, n);
          rows.add[i] = rows.out[i] = use(dh0) + b * n;
          rows.x[i] = b_.at(b, t);
          if (reset_after) {
            gru_back_after(z.at(b, t), part.at(b, t), state, g.at(b, t), rows.out[i], a.at(b, t),
                           b_.at(b, t), n);
          } else {
            gru_back_first(z.at(b, t), state, g.at(b, t), rows.out[i], a.at(b, t), n);
            rows.x[i] += 2 * n;
          }
        }
        if (!reset_after) {
          second.multiply(active, rows.x.data(), nullptr, d_inner.data());
          for (int64_t i = 0; i < active; i++) {
            int64_t b = rows.row[i], t = time.back(turn, rows.length[i]);
            gru_back_second(z.at(b, t), start.at(b, t), d_inner[i], rows.out[i], a.at(b, t), n);
            rows.x[i] -= 2 * n;
          }
        }
        first.multiply(active, rows.x.data(), rows.add.data(), rows.out.data());
      }
    });
  }, flops_of(s, 3));
}

void add_simple_rnn(Program& program, Sequences s, const std::string& activation, int recurrent,
                    int h0, int outputs, int h) {
  int64_t n = s.units;
  Activation kind = activation_of(activation);
  int packed = scratch(program, Packed::size(n, n)), zeros = scratch(program, n);
  program.step("simple_rnn", used({recurrent, h0, s.lengths, outputs, h, packed, zeros}),
               [=](char* const* at) {
    Use use{at};
    Packed matrix;
    matrix.pack(use(packed), use(recurrent), n, n, n, 1);
    std::memset(use(zeros), 0, n * 4);
    Grid<float> y{use(outputs), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block(s, use.lengths(s.lengths), [&](Rows& rows) {
      int64_t count = rows.count();
      for (int64_t i = 0; i < count; i++)
        rows.x[i] = use(h0) ? use(h0) + rows.row[i] * n : use(zeros);
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && rows.length[active - 1] <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++)
          rows.add[i] = rows.out[i] =
              y.at(rows.row[i], s.reverse ? rows.length[i] - 1 - turn : turn);
        matrix.multiply(active, rows.x.data(), rows.add.data(), rows.out.data());
        for (int64_t i = 0; i < active; i++) {
          activate(rows.out[i], kind, n);
          rows.x[i] = rows.out[i];
        }
      }
      for (int64_t i = 0; i < count; i++) {
        copy(use(h) + rows.row[i] * n, rows.x[i], n);
        clear_padding(y, rows.row[i], rows.length[i]);
      }
    });
  }, flops_of(s, 1));
}

void add_simple_rnn_gradient(Program& program, Sequences s, const std::string& activation, int dy,
                             int dh, int outputs, int recurrent, int h0, int dz, int before,
                             int dh0) {
  int64_t n = s.units;
  Activation kind = activation_of(activation);
  int packed = scratch(program, Packed::size(n, n));
  program.step("simple_rnn_gradient", used({dy, dh, outputs, recurrent, h0, s.lengths, dz, before,
                                            dh0, packed}),
               [=](char* const* at) {
    Use use{at};
    Packed matrix;
    matrix.pack(use(packed), use(recurrent), n, n, 1, n);
    Grid<float> d{use(dz), s.steps, n}, y{use(outputs), s.steps, n}, g{use(dy), s.steps, n},
        start{use(before), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block(s, use.lengths(s.lengths), [&](Rows& rows) {
      int64_t count = rows.count();
      for (int64_t i = 0; i < count; i++) {
        copy(use(dh0) + rows.row[i] * n, use(dh) + rows.row[i] * n, n);
        for (auto& grid : {d, start}) clear_padding(grid, rows.row[i], rows.length[i]);
      }
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && rows.length[active - 1] <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++) {
          int64_t b = rows.row[i], t = time.back(turn, rows.length[i]);
          int64_t past = time.before(t, rows.length[i]);
          copy(start.at(b, t), past >= 0 ? y.at(b, past) : use(h0) ? use(h0) + b * n : nullptr, n);
          rows.out[i] = use(dh0) + b * n;
          simple_back(y.at(b, t), g.at(b, t), rows.out[i], kind, d.at(b, t), n);
          rows.x[i] = d.at(b, t);
        }
        matrix.multiply(active, rows.x.data(), nullptr, rows.out.data());
      }
    });
  }, flops_of(s, 1));
}

void add_mask_steps(Program& program, Sequences s, int x, int out, int64_t width) {
  program.step("mask_steps", {x, s.lengths, out}, [=](char* const* at) {
    Use use{at};
    const int64_t* lengths = use.lengths(s.lengths);
    Grid<float> from{use(x), s.steps, width}, to{use(out), s.steps, width};
    for (int64_t b = 0; b < s.batch; b++) {
      int64_t length = std::min(std::max<int64_t>(lengths[b], 0), s.steps);
      copy(to.at(b, 0), from.at(b, 0), length * width);
      clear_padding(to, b, length);
    }
  });
}

}  // namespace gradatim
