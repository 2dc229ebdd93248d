// Fused elementwise chains: a register program over blocks that fit the first-level cache.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "loops.hpp"
#include "program.hpp"

namespace gradatim {

// Where an input or output of a chain lies: a value, seen with strides (in elements).
struct Operand {
  int value;
  int64_t offset;
  std::vector<int64_t> strides;   // one per axis of the chain's shape; 0 where it is broadcast
};

// dst = op(a, b, c) on registers; constants and loads have no sources.
struct Instruction {
  std::string op;                 // "add", "exp", "select", "cast", "load", "fill", ...
  std::string dtype;              // of the sources ("cast": from), or of the result for fill
  std::string to;                 // of the result, for "cast"
  int dst, a, b, c;
  double number;                  // for "fill"; for "load" the operand's index
};

// A sum of a register over all but the last `period` elements of the chain, into a value.
struct Columns {
  int where, value;               // the register, and the value of `period` elements
  int64_t period;                 // at most 512
  size_t width = 0;               // of an element, and how elements are added
  Loop add = nullptr;
};

// Names of all loops: "add_float32", "cast_int64_float32", ...
std::vector<std::string> elementwise_loops();

// A chain of elementwise operations on one shape, ready to run.
struct Chain {
  std::shared_ptr<const struct ChainCode> code;
};

Chain elementwise_chain(
    const Program& program, std::string name, std::vector<int64_t> shape,
    std::vector<Operand> inputs, std::vector<Operand> outputs, std::vector<int> output_registers,
    std::vector<Instruction> code, int registers, std::vector<Columns> sums);
// One step for chains none of which reads or writes what another writes; one with sums is alone.
void add_elementwise(Program& program, std::vector<Chain> chains);

}  // namespace gradatim
