// Gated recurrent units over whole sequences; formulas: backend/ops/recurrent_gru.py.
#include "sequences.hpp"

namespace gradatim {
namespace {
#define LOOPS(T)                                                                             \
  /* gates (3n) hold x W + b, term (3n) h R + b'; inner gets the candidate's term. */        \
  VECTORISED void gru_gates(T* __restrict gates, const T* term, T* __restrict inner,         \
                            int64_t n) {                                                     \
    IVDEP for (int64_t j = 0; j < 2 * n; j++) gates[j] = math::sigmoid(gates[j] + term[j]);  \
    IVDEP for (int64_t j = 0; j < n; j++) {                                                  \
      inner[j] = term[2 * n + j];                                                            \
      gates[2 * n + j] = math::tanh(gates[2 * n + j] + gates[n + j] * inner[j]);             \
    }                                                                                        \
  }                                                                                          \
  /* Without reset_after, before the candidate: z and r, and inner = r h. */                 \
  VECTORISED void gru_reset(T* __restrict gates, const T* h, T* __restrict inner,            \
                            int64_t n) {                                                     \
    IVDEP for (int64_t j = 0; j < 2 * n; j++) gates[j] = math::sigmoid(gates[j]);            \
    IVDEP for (int64_t j = 0; j < n; j++) inner[j] = gates[n + j] * h[j];                    \
  }                                                                                          \
  VECTORISED void tanh_of(T* __restrict z, int64_t n) {                                      \
    IVDEP for (int64_t j = 0; j < n; j++) z[j] = math::tanh(z[j]);                           \
  }                                                                                          \
  VECTORISED void gru_state(const T* gates, const T* before, T* __restrict h, int64_t n) {   \
    IVDEP for (int64_t j = 0; j < n; j++)                                                    \
      h[j] = (before[j] - gates[2 * n + j]) * gates[j] + gates[2 * n + j];                   \
  }                                                                                          \
  /* da (3n) and db (3n): cotangents of x W + b and of h R + b'; dh: past the gates. */      \
  VECTORISED void gru_back_after(const T* gates, const T* inner, const T* before,            \
                                 const T* dy, T* __restrict dh, T* __restrict da,            \
                                 T* __restrict db, int64_t n) {                              \
    IVDEP for (int64_t j = 0; j < n; j++) {                                                  \
      T z = gates[j], r = gates[n + j], candidate = gates[2 * n + j];                        \
      T total = dh[j] + dy[j];                                                               \
      T dz = total * ((before[j] - candidate) * z * (T(1) - z));                             \
      T dc = total * ((T(1) - z) * (T(1) - candidate * candidate));                          \
      T dr = dc * (inner[j] * r * (T(1) - r));                                               \
      da[j] = db[j] = dz;                                                                    \
      da[n + j] = db[n + j] = dr;                                                            \
      da[2 * n + j] = dc;                                                                    \
      db[2 * n + j] = dc * r;                                                                \
      dh[j] = total * z;                                                                     \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void gru_back_first(const T* gates, const T* before, const T* dy,               \
                                 T* __restrict dh, T* __restrict da, int64_t n) {            \
    IVDEP for (int64_t j = 0; j < n; j++) {                                                  \
      T z = gates[j], candidate = gates[2 * n + j];                                          \
      T total = dh[j] + dy[j];                                                               \
      da[j] = total * ((before[j] - candidate) * z * (T(1) - z));                            \
      da[2 * n + j] = total * ((T(1) - z) * (T(1) - candidate * candidate));                 \
      dh[j] = total * z;                                                                     \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void gru_back_second(const T* gates, const T* before, const T* d_inner,         \
                                  T* __restrict dh, T* __restrict da, int64_t n) {           \
    IVDEP for (int64_t j = 0; j < n; j++) {                                                  \
      T r = gates[n + j];                                                                    \
      da[n + j] = d_inner[j] * (before[j] * r * (T(1) - r));                                 \
      dh[j] += d_inner[j] * r;                                                               \
    }                                                                                        \
  }
LOOPS(float)
LOOPS(double)

}  // namespace

void add_gru(Program& program, Sequences s, bool reset_after, int gates, int recurrent, int bias,
             int h0, int outputs, int h, int inner) {
  int64_t n = s.units, wide = 3 * n;
  int packed = packed_scratch(program, gates, n, wide), last = packed_scratch(program, gates, n, n);
  int zeros = scratch(program, gates, n), terms = scratch(program, gates, s.batch * wide);
  typed_step(program, "gru", gates,
             {gates, recurrent, bias, h0, s.lengths, outputs, h, inner, packed, last, zeros, terms},
             [=](auto use) {
    using T = typename decltype(use)::Type;
    Packed<T> first, second;
    first.pack(use(packed), use(recurrent), n, reset_after ? wide : 2 * n, wide, 1);
    if (!reset_after)
      second.pack(use(last), use(recurrent) + 2 * n, n, n, wide, 1);
    std::memset(use(zeros), 0, n * sizeof(T));
    Grid<T> z{use(gates), s.steps, wide}, y{use(outputs), s.steps, n},
        part{use(inner), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block<T>(s, use.numbers(s.lengths), [&](Rows<T>& rows) {
      int64_t count = rows.count();
      std::vector<const T*> state(count);
      std::vector<T*> row(count), term(count);
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
          T* next = y.at(rows.row[i], time.step(turn, rows.length[i]));
          gru_state(row[i], state[i], next, n);
          state[i] = next;
        }
      }
      for (int64_t i = 0; i < count; i++) {
        int64_t b = rows.row[i], length = rows.length[i];
        int64_t example = s.reverse ? s.steps - 1 : length;
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
  int packed = packed_scratch(program, gates, wide, n), last = packed_scratch(program, gates, n, n);
  int zeros = scratch(program, gates, n), parts = scratch(program, gates, s.batch * n);
  typed_step(program, "gru_gradient", gates,
             {dy, dh, outputs, gates, inner, recurrent, h0, s.lengths, da, before, dh0, packed, last,
              zeros, parts},
             [=](auto use) {
    using T = typename decltype(use)::Type;
    Packed<T> first, second;
    first.pack(use(packed), use(recurrent), reset_after ? wide : 2 * n, n, 1, wide);
    if (!reset_after)
      second.pack(use(last), use(recurrent) + 2 * n, n, n, 1, wide);
    std::memset(use(zeros), 0, n * sizeof(T));
    Grid<T> z{use(gates), s.steps, wide}, a{use(da), s.steps, wide},
        b_{use(da) + (reset_after ? s.batch * s.steps * wide : 0), s.steps, wide},
        y{use(outputs), s.steps, n}, part{use(inner), s.steps, n}, g{use(dy), s.steps, n},
        start{use(before), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block<T>(s, use.numbers(s.lengths), [&](Rows<T>& rows) {
      int64_t count = rows.count();
      std::vector<T*> d_inner(count);
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
          T* state = start.at(b, t);
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

}  // namespace gradatim
