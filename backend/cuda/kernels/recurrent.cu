// Steps of recurrent nets and of their gradients. Sequences are (batch, steps, n); `t` is the step. A row
// whose length, of type I, ends before a step keeps its state, and its output there is zero. Products
// with the recurrent kernel come as `term` (batch, n), which is missing where the state is zero; so may
// be the states to start from and the lengths.
#include "common.cuh"

struct Size {
  int64 batch, steps, units, reverse;
};

__device__ bool live(const I* lengths, int64 row, int64 t) { return !lengths || t < int64(lengths[row]); }
__device__ T value_at(const T* x, int64 i) { return x ? x[i] : T(0); }
__device__ T sigmoid(T x) { return T(0.5) * tanh(T(0.5) * x) + T(0.5); }

// The state that step t of a row started from.
__device__ T state_before(const Size& s, const T* states, const T* first, const I* lengths, int64 row, int64 t,
                          int64 unit) {
  t += s.reverse ? 1 : -1;
  bool known = t >= 0 && t < s.steps && live(lengths, row, t);
  return known ? states[(row * s.steps + t) * s.units + unit] : value_at(first, row * s.units + unit);
}

// x (batch, steps, n) in the order in which steps are run, or back from it; zeros beyond the lengths, as
// padding may hold anything, NaN too.
extern "C" __global__ void live_steps(const T* x, const I* lengths, T* out, int64 batch, int64 steps, int64 n,
                                      int reverse) {
  EACH(batch * steps * n) {
    int64 step = i / n % steps, row = i / n / steps, length = lengths[row] < steps ? int64(lengths[row]) : steps;
    int64 from = reverse ? length - 1 - step : step;
    out[i] = step < length ? x[(row * steps + from) * n + i % n] : T(0);
  }
}
EXPORT_FLAT(live_steps)

// ---- rows that end early, run to the last step by a library: what is behind their end counts nothing ----

// The states h (batch, n) at each row's end, of all y (batch, steps, n); of empty rows the first.
extern "C" __global__ void last_states(const T* y, const I* lengths, const T* first, T* h, int64 batch, int64 steps,
                                       int64 n) {
  EACH(batch * n) {
    int64 row = i / n, length = lengths[row] < steps ? int64(lengths[row]) : steps;
    h[i] = length > 0 ? y[(row * steps + length - 1) * n + i % n] : value_at(first, i);
  }
}
EXPORT_FLAT(last_states)

// The cotangents of those states become part of those of y.
extern "C" __global__ void last_states_gradient(const T* dh, const I* lengths, T* dy, int64 batch, int64 steps,
                                                int64 n) {
  EACH(batch * n) {
    int64 row = i / n, length = lengths[row] < steps ? int64(lengths[row]) : steps;
    if (length > 0) dy[(row * steps + length - 1) * n + i % n] += dh[i];
  }
}
EXPORT_FLAT(last_states_gradient)

// And of empty rows those of the first states.
extern "C" __global__ void first_states_gradient(const T* dh, const I* lengths, T* dfirst, int64 batch, int64 n) {
  EACH(batch * n) if (lengths[i / n] <= 0) dfirst[i] = dh[i];
}
EXPORT_FLAT(first_states_gradient)

// ---- LSTM: gates i, f, candidate, o ----------------------------------------------------------------

// gates (batch, steps, 4 units) hold x W + b and become the gates.
extern "C" __global__ void lstm_step(Size s, int64 t, T* gates, const T* term, const T* h_before, const T* c_before,
                                     const I* lengths, T* outputs, T* h, T* c, T* cells) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    T* z = gates + at * 4 * n + unit;
    const T* more = term ? term + row * 4 * n + unit : nullptr;
    T in = sigmoid(z[0] + value_at(more, 0)), forget = sigmoid(z[n] + value_at(more, n));
    T candidate = tanh(z[2 * n] + value_at(more, 2 * n)), out = sigmoid(z[3 * n] + value_at(more, 3 * n));
    z[0] = in; z[n] = forget; z[2 * n] = candidate; z[3 * n] = out;
    bool here = live(lengths, row, t);
    T old = value_at(c_before, i), cell = here ? forget * old + in * candidate : old;
    T hidden = here ? out * tanh(cell) : value_at(h_before, i);
    h[i] = hidden;
    c[i] = cell;
    cells[at * n + unit] = cell;
    outputs[at * n + unit] = here ? hidden : T(0);
  }
}
EXPORT_FLAT(lstm_step)

// The cotangent of h after the step is next + rest; dc becomes that of c before it.
extern "C" __global__ void lstm_step_gradient(Size s, int64 t, const T* dy, const T* next, const T* rest,
                                              const T* dc_after, const T* outputs, const T* gates, const T* cells,
                                              const T* h0, const T* c0, const I* lengths, T* dz, T* h_before,
                                              T* dh_rest, T* dc) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    const T* z = gates + at * 4 * n + unit;
    T in = z[0], forget = z[n], candidate = z[2 * n], out = z[3 * n];
    bool here = live(lengths, row, t);
    T tanh_c = tanh(cells[at * n + unit]), before = state_before(s, cells, c0, lengths, row, t, unit);
    T total = value_at(next, i) + value_at(rest, i) + (here ? dy[at * n + unit] : T(0));
    T by_cell = dc_after[i] + total * out * (T(1) - tanh_c * tanh_c);
    T h_live = here ? total : T(0), c_live = here ? by_cell : T(0);
    T* slope = dz + at * 4 * n + unit;
    slope[0] = c_live * candidate * in * (T(1) - in);
    slope[n] = c_live * before * forget * (T(1) - forget);
    slope[2 * n] = c_live * in * (T(1) - candidate * candidate);
    slope[3 * n] = h_live * tanh_c * out * (T(1) - out);
    h_before[at * n + unit] = state_before(s, outputs, h0, lengths, row, t, unit);
    dh_rest[i] = here ? T(0) : total;
    dc[i] = here ? c_live * forget : dc_after[i];
  }
}
EXPORT_FLAT(lstm_step_gradient)

// ---- GRU: gates z, r, candidate --------------------------------------------------------------------

// The reset gate after the product: term is h R, to which `bias` (3 units) is still to be added.
extern "C" __global__ void gru_step(Size s, int64 t, T* gates, const T* term, const T* bias, const T* h_before,
                                    const I* lengths, T* outputs, T* h, T* inner) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    T* a = gates + at * 3 * n + unit;
    const T* more = term ? term + row * 3 * n + unit : nullptr;
    T z = sigmoid(a[0] + value_at(more, 0) + bias[unit]), r = sigmoid(a[n] + value_at(more, n) + bias[n + unit]);
    T within = value_at(more, 2 * n) + bias[2 * n + unit], candidate = tanh(a[2 * n] + r * within);
    a[0] = z; a[n] = r; a[2 * n] = candidate;
    inner[at * n + unit] = within;
    bool here = live(lengths, row, t);
    T old = value_at(h_before, i), hidden = here ? (old - candidate) * z + candidate : old;
    h[i] = hidden;
    outputs[at * n + unit] = here ? hidden : T(0);
  }
}
EXPORT_FLAT(gru_step)

// The reset gate before the product: first the gates z and r, with term (batch, 2 units), and r h.
extern "C" __global__ void gru_gates(Size s, int64 t, T* gates, const T* term, const T* h_before, T* inner) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    T* a = gates + at * 3 * n + unit;
    const T* more = term ? term + row * 2 * n + unit : nullptr;
    a[0] = sigmoid(a[0] + value_at(more, 0));
    a[n] = sigmoid(a[n] + value_at(more, n));
    inner[at * n + unit] = a[n] * value_at(h_before, i);
  }
}
EXPORT_FLAT(gru_gates)

// Then the candidate, with term (batch, units).
extern "C" __global__ void gru_candidate(Size s, int64 t, T* gates, const T* term, const T* h_before, const I* lengths,
                                         T* outputs, T* h) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    T* a = gates + at * 3 * n + unit;
    T candidate = tanh(a[2 * n] + term[i]), z = a[0], old = value_at(h_before, i);
    a[2 * n] = candidate;
    bool here = live(lengths, row, t);
    T hidden = here ? (old - candidate) * z + candidate : old;
    h[i] = hidden;
    outputs[at * n + unit] = here ? hidden : T(0);
  }
}
EXPORT_FLAT(gru_candidate)

// da (batch, steps, 3 units): cotangents of x W + b; db: those of h R, with the reset gate after the
// product. Before it, db is missing, and the part of r waits for gru_reset_gradient.
extern "C" __global__ void gru_step_gradient(Size s, int64 t, const T* dy, const T* next, const T* rest,
                                             const T* outputs, const T* gates, const T* inner, const T* h0,
                                             const I* lengths, T* da, T* db, T* h_before, T* dh_rest) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    const T* a = gates + at * 3 * n + unit;
    T z = a[0], r = a[n], candidate = a[2 * n], old = state_before(s, outputs, h0, lengths, row, t, unit);
    bool here = live(lengths, row, t);
    T total = value_at(next, i) + value_at(rest, i) + (here ? dy[at * n + unit] : T(0));
    T alive = here ? total : T(0);
    T by_z = alive * (old - candidate) * z * (T(1) - z), by_c = alive * (T(1) - z) * (T(1) - candidate * candidate);
    T by_r = db ? by_c * inner[at * n + unit] * r * (T(1) - r) : T(0);
    T* slope = da + at * 3 * n + unit;
    slope[0] = by_z; slope[n] = by_r; slope[2 * n] = by_c;
    if (db) {
      slope = db + at * 3 * n + unit;
      slope[0] = by_z; slope[n] = by_r; slope[2 * n] = by_c * r;
    }
    h_before[at * n + unit] = old;
    dh_rest[i] = here ? alive * z : total;
  }
}
EXPORT_FLAT(gru_step_gradient)

// d_inner (batch, units) is the cotangent of r h.
extern "C" __global__ void gru_reset_gradient(Size s, int64 t, const T* d_inner, const T* gates, const T* h_before,
                                              T* da, T* dh_rest) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = row * s.steps + t;
    T r = gates[at * 3 * n + n + unit];
    da[at * 3 * n + n + unit] = d_inner[i] * h_before[at * n + unit] * r * (T(1) - r);
    dh_rest[i] += d_inner[i] * r;
  }
}
EXPORT_FLAT(gru_reset_gradient)

// ---- simple nets: activation 0 tanh, 1 relu, 2 sigmoid, 3 linear -----------------------------------

__device__ T activated(int activation, T z) {
  return activation == 0 ? tanh(z) : activation == 1 ? larger(z, T(0)) : activation == 2 ? sigmoid(z) : z;
}
__device__ T slope_of(int activation, T y) {
  return activation == 0 ? T(1) - y * y : activation == 1 ? T(y > T(0)) : activation == 2 ? y * (T(1) - y) : T(1);
}

// outputs (batch, steps, units) hold x W + b and become the outputs.
extern "C" __global__ void simple_rnn_step(Size s, int64 t, int activation, T* outputs, const T* term,
                                           const T* h_before, const I* lengths, T* h) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, at = (row * s.steps + t) * n + i % n;
    bool here = live(lengths, row, t);
    T hidden = here ? activated(activation, outputs[at] + value_at(term, i)) : value_at(h_before, i);
    h[i] = hidden;
    outputs[at] = here ? hidden : T(0);
  }
}
EXPORT_FLAT(simple_rnn_step)

extern "C" __global__ void simple_rnn_step_gradient(Size s, int64 t, int activation, const T* dy, const T* next,
                                                    const T* rest, const T* outputs, const T* h0, const I* lengths,
                                                    T* dz, T* h_before, T* dh_rest) {
  int64 n = s.units;
  EACH(s.batch * n) {
    int64 row = i / n, unit = i % n, at = (row * s.steps + t) * n + unit;
    bool here = live(lengths, row, t);
    T total = value_at(next, i) + value_at(rest, i) + (here ? dy[at] : T(0));
    dz[at] = here ? total * slope_of(activation, outputs[at]) : T(0);
    h_before[at] = state_before(s, outputs, h0, lengths, row, t, unit);
    dh_rest[i] = here ? T(0) : total;
  }
}
EXPORT_FLAT(simple_rnn_step_gradient)
