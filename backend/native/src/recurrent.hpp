// Recurrent nets over whole sequences: every thread runs its own rows through all time steps.
#pragma once
#include <string>
#include <vector>

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
// With tokens (B, T) int64 the rows of a table (words, 4U) take the place of x W + b.
void add_lstm(Program& program, Sequences s, int table, int tokens, int gates, int recurrent,
              int bias, int h0, int c0, int outputs, int h, int c, int cells);
// dz (B, T, 4U): cotangents of x W + b; before (B, T, U): the state each step started from. Both
// hold live steps only, one sequence after another; beyond them they are not written.
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

// ---- live steps, those within the lengths, one sequence after another ---------------------------

// Where each sequence's live steps begin among all of them, and how many there are after the last.
std::vector<int64_t> first_live(const Sequences& s, const int64_t* lengths);
// The live steps of x (B, T, width).
void add_take_live(Program& program, Sequences s, int x, int out, int64_t width);
// Live steps put in their places (B, T, width), zeros beside them.
void add_put_live(Program& program, Sequences s, int x, int out, int64_t width);
// out (words, width): live steps added up by the word at each; by none with tokens -1 and one word.
void add_sum_live(Program& program, Sequences s, int tokens, int x, int out, int64_t words,
                  int64_t width);
// out (m, n) = x^T y over live steps, for x (live steps, m) and y (live steps, n); and unless sums
// is -1 what add_sum_live makes of y, which is read once for both.
void add_live_product(Program& program, Sequences s, int x, int y, int out, int64_t m, int64_t n,
                      int tokens, int sums, int64_t words);

}  // namespace gradatim
