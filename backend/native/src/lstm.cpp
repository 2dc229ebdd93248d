// Long short-term memory over whole sequences; formulas: backend/ops/recurrent_lstm.py.
#include "sequences.hpp"

namespace gradatim {
namespace {
constexpr int64_t APART = 16;     // rows a power of two apart would meet in the cache

#define LOOPS(T)                                                                             \
  VECTORISED void lstm_gates(T* __restrict z, int64_t n) {                                   \
    IVDEP for (int64_t j = 0; j < 2 * n; j++) z[j] = math::sigmoid(z[j]);                    \
    IVDEP for (int64_t j = 2 * n; j < 3 * n; j++) z[j] = math::tanh(z[j]);                   \
    IVDEP for (int64_t j = 3 * n; j < 4 * n; j++) z[j] = math::sigmoid(z[j]);                \
  }                                                                                          \
  VECTORISED void lstm_state(const T* z, const T* before, T* __restrict c,                   \
                             T* __restrict h, int64_t n) {                                   \
    const T *i = z, *f = z + n, *candidate = z + 2 * n, *o = z + 3 * n;                      \
    IVDEP for (int64_t j = 0; j < n; j++) {                                                  \
      T next = f[j] * before[j] + i[j] * candidate[j];                                       \
      c[j] = next;                                                                           \
      h[j] = o[j] * math::tanh(next);                                                        \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void lstm_back(const T* z, const T* before, const T* c, const T* dy,            \
                            const T* dh, T* __restrict dc, T* __restrict dz, int64_t n) {    \
    IVDEP for (int64_t j = 0; j < n; j++) {                                                  \
      T i = z[j], f = z[n + j], candidate = z[2 * n + j], o = z[3 * n + j];                  \
      T tanh_c = math::tanh(c[j]);                                                           \
      T by_h = dh[j] + dy[j];                                                                \
      T by_c = dc[j] + by_h * (o * (T(1) - tanh_c * tanh_c));                                \
      dz[j] = by_c * (candidate * i * (T(1) - i));                                           \
      dz[n + j] = by_c * (before[j] * f * (T(1) - f));                                       \
      dz[2 * n + j] = by_c * (i * (T(1) - candidate * candidate));                           \
      dz[3 * n + j] = by_h * (tanh_c * o * (T(1) - o));                                      \
      dc[j] = by_c * f;                                                                      \
    }                                                                                        \
  }
LOOPS(float)
LOOPS(double)

}  // namespace

void add_lstm(Program& program, Sequences s, int table, int tokens, int gates, int recurrent,
              int bias, int h0, int c0, int outputs, int h, int c, int cells) {
  int64_t n = s.units, wide = 4 * n, words = table < 0 ? 0 : program.at(table).size / wide;
  int packed = packed_scratch(program, gates, n, wide), zeros = scratch(program, gates, n);
  int64_t room = wide + APART;
  int now = scratch(program, gates, s.batch * room);
  typed_step(program, "lstm", gates,
             {gates, recurrent, bias, h0, c0, s.lengths, outputs, h, c, cells, packed, zeros,
              table, tokens, now},
             [=](auto use) {
    using T = typename decltype(use)::Type;
    const int64_t* token = use.numbers(tokens);
    if (token) check_rows(token, s.batch * s.steps, words);
    Packed<T> matrix;
    matrix.pack(use(packed), use(recurrent), n, wide, wide, 1);
    std::memset(use(zeros), 0, n * sizeof(T));
    Grid<T> z{use(gates), s.steps, wide}, y{use(outputs), s.steps, n},
        cell{use(cells), s.steps, n};
    Time time{s.steps, s.reverse};
    Store<T> store(s.batch * s.steps * wide);
    each_block<T>(s, use.numbers(s.lengths), [&](Rows<T>& rows) {
      int64_t count = rows.count();
      std::vector<const T*> state(count), memory(count);
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
          int64_t b = rows.row[i], t = time.step(turn, rows.length[i]);
          rows.out[i] = store.past() ? use(now) + (rows.first + i) * room : z.at(b, t);
          rows.add[i] = time.dead(turn, rows.length[i]) ? use(bias)
              : token ? use(table) + row_of(token[b * s.steps + t], words) * wide : z.at(b, t);
        }
        matrix.multiply(active, state.data(), rows.add.data(), rows.out.data());
        for (int64_t i = 0; i < active; i++) {
          int64_t b = rows.row[i], t = time.step(turn, rows.length[i]);
          lstm_gates(rows.out[i], n);
          if (store.past()) store(z.at(b, t), rows.out[i], wide);
          if (time.dead(turn, rows.length[i])) continue;
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
      store.done();
    });
  }, flops_of(s, 4));
}

void add_lstm_gradient(Program& program, Sequences s, int dy, int dh, int dc, int outputs,
                       int gates, int cells, int recurrent, int h0, int c0, int dz, int before,
                       int dh0, int dc0) {
  int64_t n = s.units, wide = 4 * n;
  int packed = packed_scratch(program, gates, wide, n), zeros = scratch(program, gates, n);
  int64_t room = wide + 2 * n + APART;      // dz, dh and dc of a row
  int now = scratch(program, gates, s.batch * room);
  typed_step(program, "lstm_gradient", gates,
             {dy, dh, dc, outputs, gates, cells, recurrent, h0, c0, s.lengths, dz, before, dh0, dc0,
              packed, zeros, now},
             [=](auto use) {
    using T = typename decltype(use)::Type;
    Packed<T> matrix;
    matrix.pack(use(packed), use(recurrent), wide, n, 1, wide);
    std::memset(use(zeros), 0, n * sizeof(T));
    std::vector<int64_t> first = first_live(s, use.numbers(s.lengths));
    Grid<T> z{use(gates), s.steps, wide}, d{use(dz), s.steps, wide, first.data()},
        y{use(outputs), s.steps, n}, cell{use(cells), s.steps, n}, g{use(dy), s.steps, n},
        start{use(before), s.steps, n, first.data()};
    Time time{s.steps, s.reverse};
    Store<T> store(s.batch * s.steps * wide);
    each_block<T>(s, use.numbers(s.lengths), [&](Rows<T>& rows) {
      int64_t count = rows.count();
      for (int64_t i = 0; i < count; i++) {
        int64_t b = rows.row[i];
        T* own = use(now) + (rows.first + i) * room;
        rows.x[i] = own;
        rows.out[i] = own + wide;
        copy(own + wide, use(dh) + b * n, n);
        copy(own + wide + n, use(dc) + b * n, n);
      }
      for (int64_t turn = 0, active = count;; turn++) {
        while (active && rows.length[active - 1] <= turn) active--;
        if (!active) break;
        for (int64_t i = 0; i < active; i++) {
          int64_t b = rows.row[i], t = time.back(turn, rows.length[i]);
          int64_t past = time.before(t, rows.length[i]);
          const T* c = past >= 0 ? cell.at(b, past) : use(c0) ? use(c0) + b * n : use(zeros);
          store(start.at(b, t), past >= 0 ? y.at(b, past) : use(h0) ? use(h0) + b * n : nullptr, n);
          T* own = rows.out[i] - wide;
          lstm_back(z.at(b, t), c, cell.at(b, t), g.at(b, t), rows.out[i], rows.out[i] + n, own, n);
          if (!store.past()) copy(d.at(b, t), own, wide);
        }
        // More than the caches hold moves beside the product: this step's out, the next one's in.
        auto move = [&](int64_t part, int64_t parts) {
          for (int64_t i = active * part / parts; i < active * (part + 1) / parts; i++) {
            int64_t b = rows.row[i], t = time.back(turn, rows.length[i]);
            store(d.at(b, t), rows.x[i], wide);
            int64_t next = time.before(t, rows.length[i]);
            if (next < 0) continue;
            fetch(z.at(b, next), wide);
            fetch(g.at(b, next), n);
            fetch(y.at(b, next), n);
            fetch(cell.at(b, next), n);
          }
        };
        matrix.multiply(active, rows.x.data(), nullptr, rows.out.data(), 1, false,
                        store.past() ? Meanwhile(move) : nullptr);
      }
      for (int64_t i = 0; i < count; i++) {
        copy(use(dh0) + rows.row[i] * n, rows.out[i], n);
        copy(use(dc0) + rows.row[i] * n, rows.out[i] + n, n);
      }
      store.done();
    });
  }, flops_of(s, 4));
}

}  // namespace gradatim
