// Random numbers: Philox4x32-10, a function of seed, stream, step and position.
#pragma once
#include <string>

#include "program.hpp"

namespace gradatim {

// Numbers for `size` elements, `row` of them in a sample; seed, step and offset are values that
// hold one int64. kind is "bits", "uniform" (a + u * b), "normal" (a + u * b) or "mask": 0 where
// the word is below a, else b.
void add_random(Program& program, const std::string& kind, int seed, int step, int offset, int out,
                int64_t size, int64_t row, uint32_t stream, double a, double b);

}  // namespace gradatim
