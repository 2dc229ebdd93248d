// A program: a list of steps over values, whose memory is one arena planned by lifetimes.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "threads.hpp"

namespace gradatim {

// Half precision is only carried from one step of the reference to the next. The upper halves of
// float32 are written by elementwise chains and read by products; Python never sees them.
enum class DType : uint8_t { Bool, U8, I32, U32, I64, F16, BF16, F32, F64 };

size_t size_of(DType dtype);
DType dtype_of(const std::string& name);

// Where a value lives: in the arena, in memory bound at each call, in memory of the program's own,
// or in a block that is computed once for a set of weights and kept beside the program.
enum class Home : uint8_t { Arena, Bound, Own, Kept };

struct Aligned {  // 64-byte aligned memory
  explicit Aligned(size_t bytes);
  ~Aligned();
  Aligned(const Aligned&) = delete;
  char* data;
  size_t bytes;
};

struct Value {
  std::vector<int64_t> shape;
  DType dtype;
  int64_t size;
  size_t bytes;
  Home home;
  size_t offset = 0;              // in the arena, or in the block
  bool fixed = false;             // decided by the weights alone
  std::shared_ptr<Aligned> own;
  int first = -1, last = -1;      // steps between which the arena holds it
};

// A step gets the address of every value, by number.
using Run = std::function<void(char* const* at)>;

struct Step {
  std::string name;
  Run run;                        // empty: the caller computes it between two runs
  double flops;
};

class Program {
 public:
  int value(std::vector<int64_t> shape, const std::string& dtype, Home home);
  int constant(std::vector<int64_t> shape, const std::string& dtype, const char* data);
  // Adds a step; arena values live from the first step that names them to the last.
  void step(std::string name, std::vector<int> uses, Run run, double flops = 0);
  // Marks a bound value as weights: what is made of it alone may be kept from call to call.
  void fix(int value) { values_.at(value).fixed = true; }
  bool fixed(int value) const { return values_.at(value).fixed; }
  // Whether steps are from here on added to those that run once for a set of weights; returns what
  // held before.
  bool once(bool on) { return std::exchange(once_mode_, on); }
  // A step that reads fixed values only, and whose results are therefore fixed.
  void step_once(std::string name, std::vector<int> uses, Run run);
  void keep(int value);           // alive to the end
  void finish();                  // plans the arena
  size_t arena_bytes() const { return arena_bytes_; }
  size_t kept_bytes() const { return kept_bytes_; }
  const std::vector<Step>& once_steps() const { return once_; }
  const std::vector<Step>& steps() const { return steps_; }
  const Value& at(int value) const { return values_[value]; }
  Value& at(int value) { return values_[value]; }
  size_t count() const { return values_.size(); }

  std::shared_ptr<Aligned> lease();
  void give_back(std::shared_ptr<Aligned> arena);
  // Addresses of all values for one run: those in the arena and in the block of what is kept; bound
  // ones are left empty.
  std::vector<char*> addresses(Aligned& arena, Aligned& kept) const;
  void prepare(char* const* at) const;          // the steps that run once
  void run(size_t from, size_t to, char* const* at) const;
  // Median seconds of each step over some runs, in their order; all must be the core's own.
  std::vector<double> timed(char* const* at, int runs) const;

 private:
  std::vector<Value> values_;
  std::vector<Step> steps_, once_;
  bool once_mode_ = false;
  size_t arena_bytes_ = 0, kept_bytes_ = 0;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Aligned>> free_;
};

}  // namespace gradatim
