// A program: a list of steps over values, whose memory is one arena planned by lifetimes.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "threads.hpp"

namespace gradatim {

// Half precision is only carried from one step of the reference to the next.
enum class DType : uint8_t { Bool, U8, I32, U32, I64, F16, F32, F64 };

size_t size_of(DType dtype);
DType dtype_of(const std::string& name);

// Where a value lives: in the arena, in memory bound at each call, or in memory of the program's own.
enum class Home : uint8_t { Arena, Bound, Own };

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
  size_t offset = 0;              // in the arena
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
  void keep(int value);           // alive to the end
  void finish();                  // plans the arena
  size_t arena_bytes() const { return arena_bytes_; }
  const std::vector<Step>& steps() const { return steps_; }
  const Value& at(int value) const { return values_[value]; }
  Value& at(int value) { return values_[value]; }
  size_t count() const { return values_.size(); }

  std::shared_ptr<Aligned> lease();
  void give_back(std::shared_ptr<Aligned> arena);
  // Addresses of all values for one run: arena ones inside it, bound ones as given (by number).
  std::vector<char*> addresses(Aligned& arena) const;
  void run(size_t from, size_t to, char* const* at) const;
  // Median seconds of each step over some runs, for the breakdown of where time goes.
  std::vector<double> timed(char* const* at, int runs) const;

 private:
  std::vector<Value> values_;
  std::vector<Step> steps_;
  size_t arena_bytes_ = 0;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Aligned>> free_;
};

}  // namespace gradatim
