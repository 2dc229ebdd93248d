// Simple recurrent nets over whole sequences; formulas: backend/ops/recurrent_simple.py.
#include "sequences.hpp"

namespace gradatim {
namespace {

enum class Activation { Tanh, Relu, Sigmoid, Linear };

Activation activation_of(const std::string& name) {
  return name == "tanh" ? Activation::Tanh : name == "relu" ? Activation::Relu
       : name == "sigmoid" ? Activation::Sigmoid : Activation::Linear;
}

#define LOOPS(T)                                                                              \
  VECTORISED void activate(T* __restrict h, Activation kind, int64_t n) {                     \
    if (kind == Activation::Tanh) {                                                           \
      IVDEP for (int64_t j = 0; j < n; j++) h[j] = math::tanh(h[j]);                          \
    } else if (kind == Activation::Sigmoid) {                                                 \
      IVDEP for (int64_t j = 0; j < n; j++) h[j] = math::sigmoid(h[j]);                      \
    } else if (kind == Activation::Relu) {                                                    \
      IVDEP for (int64_t j = 0; j < n; j++) h[j] = h[j] > T(0) || h[j] != h[j] ? h[j] : T(0); \
    }                                                                                         \
  }                                                                                           \
  VECTORISED void simple_back(const T* y, const T* dy, const T* dh, Activation kind,          \
                              T* __restrict dz, int64_t n) {                                  \
    IVDEP for (int64_t j = 0; j < n; j++) dz[j] = dh[j] + dy[j];                              \
    if (kind == Activation::Tanh) {                                                           \
      IVDEP for (int64_t j = 0; j < n; j++) dz[j] *= T(1) - y[j] * y[j];                      \
    } else if (kind == Activation::Sigmoid) {                                                 \
      IVDEP for (int64_t j = 0; j < n; j++) dz[j] *= y[j] * (T(1) - y[j]);                    \
    } else if (kind == Activation::Relu) {                                                    \
      IVDEP for (int64_t j = 0; j < n; j++) dz[j] *= y[j] > T(0) ? T(1) : T(0);               \
    }                                                                                         \
  }
LOOPS(float)
LOOPS(double)

}  // namespace

void add_simple_rnn(Program& program, Sequences s, const std::string& activation, int recurrent,
                    int h0, int outputs, int h) {
  int64_t n = s.units;
  Activation kind = activation_of(activation);
  int packed = packed_scratch(program, outputs, n, n), zeros = scratch(program, outputs, n);
  typed_step(program, "simple_rnn", outputs,
             {recurrent, h0, s.lengths, outputs, h, packed, zeros}, [=](auto use) {
    using T = typename decltype(use)::Type;
    Packed<T> matrix;
    matrix.pack(use(packed), use(recurrent), n, n, n, 1);
    std::memset(use(zeros), 0, n * sizeof(T));
    Grid<T> y{use(outputs), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block<T>(s, use.numbers(s.lengths), [&](Rows<T>& rows) {
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
  int packed = packed_scratch(program, outputs, n, n);
  typed_step(program, "simple_rnn_gradient", outputs,
             {dy, dh, outputs, recurrent, h0, s.lengths, dz, before, dh0, packed}, [=](auto use) {
    using T = typename decltype(use)::Type;
    Packed<T> matrix;
    matrix.pack(use(packed), use(recurrent), n, n, 1, n);
    Grid<T> d{use(dz), s.steps, n}, y{use(outputs), s.steps, n}, g{use(dy), s.steps, n},
        start{use(before), s.steps, n};
    Time time{s.steps, s.reverse};
    each_block<T>(s, use.numbers(s.lengths), [&](Rows<T>& rows) {
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
  typed_step(program, "mask_steps", x, {x, s.lengths, out}, [=](auto use) {
    using T = typename decltype(use)::Type;
    const int64_t* lengths = use.numbers(s.lengths);
    Grid<T> from{use(x), s.steps, width}, to{use(out), s.steps, width};
    for (int64_t b = 0; b < s.batch; b++) {
      int64_t length = std::min(std::max<int64_t>(lengths[b], 0), s.steps);
      copy(to.at(b, 0), from.at(b, 0), length * width);
      clear_padding(to, b, length);
    }
  });
}

}  // namespace gradatim
