// Recurrent nets over whole sequences: every thread runs its own rows through all time steps.
#pragma once
#include <string>

#include "program.hpp"

namespace gradatim {

// What all recurrent steps share. Arrays lie batch-major, (batch, steps, ...); lengths and first
// states are numbers of values, or -1 for full lengths and zeros. All else is float32 or float64.
struct Sequences {
  int64_t batch, steps, units;
  bool reverse;
  int lengths;                    // (batch,) int64
};

// On entry gates (B, T, 4U) hold x W + b, afterwards the activated gates. bias serves padded steps.
void add_lstm(Program& program, Sequences s, int gates, int recurrent, int bias, int h0, int c0,
              int outputs, int h, int c, int cells);
// dz (B, T, 4U): cotangents of x W + b; before (B, T, U): the state each step started from.
void add_lstm_gradient(Program& program, Sequences s, int dy, int dh, int dc, int outputs,
                       int gates, int cells, int recurrent, int h0, int c0, int dz, int before,
                       int dh0, int dc0);
// On entry gates (B, T, 3U) hold x W + b; bias is (2, 3U) with reset_after, else (3U,).
void add_gru(Program& program, Sequences s, bool reset_after, int gates, int recurrent, int bias,
             int h0, int outputs, int h, int inner);
// da (B, T, 3U), or with reset_after (2, B, T, 3U): cotangents of x W + b, then those of h R + b'.
void add_gru_gradient(Program& program, Sequences s, bool reset_after, int dy, int dh, int outputs,
                      int gates, int inner, int recurrent, int h0, int da, int before, int dh0);
// On entry outputs (B, T, U) hold x W + b; activation is "tanh", "relu", "sigmoid" or "linear".
void add_simple_rnn(Program& program, Sequences s, const std::string& activation, int recurrent,
                    int h0, int outputs, int h);
void add_simple_rnn_gradient(Program& program, Sequences s, const std::string& activation, int dy,
                             int dh, int outputs, int recurrent, int h0, int dz, int before,
                             int dh0);
// x (B, T, width) with zeros beyond the lengths.
void add_mask_steps(Program& program, Sequences s, int x, int out, int64_t width);

}  // namespace gradatim
