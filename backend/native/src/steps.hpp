// Many steps of a program in one call, each fed its own rows of tables that stay where they are.
#pragma once
#include <string>
#include <vector>

#include "program.hpp"

namespace gradatim {

// A bound value that each step fills with some rows of samples; other dtypes are converted.
struct Samples {
  int value;
  DType dtype;
  const char* data;
};

// A bound result, and memory for that of every step.
struct Record {
  int value;
  char* data;
};

// A variable whose new value lies elsewhere: from step to step the two places take turns.
struct Renewed {
  int variable, fresh;
  char* memory[2];
};

// Whether rows of one element type can be fed to a value of another.
bool converts(const std::string& from, const std::string& to);

// Step k takes rows[k * batch ...]; `done` counts finished steps, also when one throws.
void run_steps(const Program& program, std::vector<char*>& at, const int64_t* rows, int64_t steps,
               int64_t batch, const std::vector<Samples>& tables,
               const std::vector<Record>& records, const std::vector<Renewed>& renewed,
               int64_t& done);

}  // namespace gradatim
