// Values, steps, the arena planned by lifetimes, and the loop that runs them.
#include "program.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include <sys/mman.h>

namespace gradatim {
namespace {
constexpr size_t HUGE_PAGE = 2 << 20;     // bytes; rows that lie far apart need few of them
}  // namespace

size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::Bool: case DType::U8: return 1;
    case DType::F16: case DType::BF16: return 2;
    case DType::I32: case DType::U32: case DType::F32: return 4;
    default: return 8;
  }
}

DType dtype_of(const std::string& name) {
  static const std::pair<const char*, DType> table[] = {
      {"bool", DType::Bool}, {"uint8", DType::U8}, {"int32", DType::I32}, {"uint32", DType::U32},
      {"int64", DType::I64}, {"float16", DType::F16}, {"bfloat16", DType::BF16},
      {"float32", DType::F32}, {"float64", DType::F64}};
  for (auto& [text, dtype] : table)
    if (name == text) return dtype;
  throw std::invalid_argument("the native backend has no " + name);
}

Aligned::Aligned(size_t bytes) : bytes(bytes) {
  size_t page = bytes < HUGE_PAGE ? 64 : HUGE_PAGE, room = (bytes + 64 + page - 1) / page * page;
  data = static_cast<char*>(std::aligned_alloc(page, room));
  if (!data) throw std::bad_alloc();
  if (page == HUGE_PAGE) madvise(data, room, MADV_HUGEPAGE);   // a wish: Linux may not grant it
}

Aligned::~Aligned() { std::free(data); }

int Program::value(std::vector<int64_t> shape, const std::string& dtype, Home home) {
  Value v;
  v.dtype = dtype_of(dtype);
  v.size = 1;
  for (int64_t n : shape) v.size *= n;
  v.bytes = v.size * size_of(v.dtype);
  v.shape = std::move(shape);
  v.home = home;
  values_.push_back(std::move(v));
  return static_cast<int>(values_.size()) - 1;
}

int Program::constant(std::vector<int64_t> shape, const std::string& dtype, const char* data) {
  int number = value(std::move(shape), dtype, Home::Own);
  Value& v = values_[number];
  v.fixed = true;
  v.own = std::make_shared<Aligned>(v.bytes);
  std::memcpy(v.own->data, data, v.bytes);
  return number;
}

void Program::step(std::string name, std::vector<int> uses, Run run, double flops) {
  if (once_mode_) return step_once(std::move(name), std::move(uses), std::move(run));
  int now = static_cast<int>(steps_.size());
  for (int number : uses) {
    Value& v = values_.at(number);
    if (v.first < 0) v.first = now;
    v.last = std::max(v.last, now);
  }
  steps_.push_back({std::move(name), std::move(run), flops});
}

void Program::step_once(std::string name, std::vector<int> uses, Run run) {
  for (int number : uses) {
    Value& v = values_.at(number);
    if (v.home == Home::Arena) {
      v.home = Home::Kept;
      v.fixed = true;
      v.offset = kept_bytes_;
      kept_bytes_ += (v.bytes + 63) / 64 * 64 + 64;
    }
  }
  once_.push_back({std::move(name), std::move(run), 0});
}

void Program::keep(int value) { values_.at(value).last = 1 << 30; }

void Program::finish() {
  // Largest first, each at the lowest offset free during its whole life.
  std::vector<int> order;
  for (size_t i = 0; i < values_.size(); i++)
    if (values_[i].home == Home::Arena && values_[i].first >= 0) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](int a, int b) {
    return values_[a].bytes != values_[b].bytes ? values_[a].bytes > values_[b].bytes : a < b;
  });
  std::vector<int> placed;
  for (int number : order) {
    Value& v = values_[number];
    size_t need = (v.bytes + 63) / 64 * 64 + 64, offset = 0;
    std::vector<std::pair<size_t, size_t>> taken;
    for (int other : placed) {
      const Value& o = values_[other];
      if (o.first <= v.last && v.first <= o.last)
        taken.emplace_back(o.offset, o.offset + (o.bytes + 63) / 64 * 64 + 64);
    }
    std::sort(taken.begin(), taken.end());
    for (auto& [begin, end] : taken) {
      if (offset + need <= begin) break;
      offset = std::max(offset, end);
    }
    v.offset = offset;
    arena_bytes_ = std::max(arena_bytes_, offset + need);
    placed.push_back(number);
  }
}

std::shared_ptr<Aligned> Program::lease() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      auto arena = free_.back();
      free_.pop_back();
      return arena;
    }
  }
  return std::make_shared<Aligned>(arena_bytes_);
}

void Program::give_back(std::shared_ptr<Aligned> arena) {
  std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(std::move(arena));
}

std::vector<char*> Program::addresses(Aligned& arena, Aligned& kept) const {
  std::vector<char*> at(values_.size(), nullptr);
  for (size_t i = 0; i < values_.size(); i++) {
    if (values_[i].home == Home::Arena) at[i] = arena.data + values_[i].offset;
    if (values_[i].home == Home::Kept) at[i] = kept.data + values_[i].offset;
    if (values_[i].home == Home::Own) at[i] = values_[i].own->data;
  }
  return at;
}

void Program::prepare(char* const* at) const {
  for (const Step& step : once_) step.run(at);
}

void Program::run(size_t from, size_t to, char* const* at) const {
  for (size_t i = from; i < to; i++) steps_[i].run(at);
}

std::vector<double> Program::timed(char* const* at, int runs) const {
  std::vector<std::vector<double>> times(steps_.size());
  for (int i = 0; i < runs; i++) {
    auto before = std::chrono::steady_clock::now();
    for (size_t k = 0; k < steps_.size(); k++) {
      steps_[k].run(at);
      auto now = std::chrono::steady_clock::now();
      times[k].push_back(std::chrono::duration<double>(now - before).count());
      before = now;
    }
  }
  std::vector<double> result;
  for (auto& found : times) {
    std::sort(found.begin(), found.end());
    result.push_back(found.empty() ? 0 : found[found.size() / 2]);
  }
  return result;
}

}  // namespace gradatim
