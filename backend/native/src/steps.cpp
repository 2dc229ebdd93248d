// Rows gathered and converted by all threads, then the program, again and again.
#include "steps.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "vectorised.hpp"

namespace gradatim {
namespace {

constexpr int64_t AHEAD = 2;     // rows

using Rows = void (*)(const Samples& samples, const int64_t* rows, int64_t batch, int64_t width,
                      char* out);

// body(i, row i of the batch) where it lies; about 16 KB go to a thread at a time.
template <class T, class Body>
void each_row(const Samples& samples, const int64_t* rows, int64_t batch, int64_t width,
              const Body& body) {
  const T* first = reinterpret_cast<const T*>(samples.data);
  parallel(batch, std::max<int64_t>(1, 16384 / std::max<int64_t>(width * sizeof(T), 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      if (i + AHEAD < end) fetch(first + rows[i + AHEAD] * width, width);
      body(i, first + rows[i] * width);
    }
  });
}

template <class From, class To>
void take(const Samples& samples, const int64_t* rows, int64_t batch, int64_t width, char* out) {
  each_row<From>(samples, rows, batch, width, [&](int64_t i, const From* from) {
    To* to = reinterpret_cast<To*>(out) + i * width;
    for (int64_t j = 0; j < width; j++) to[j] = static_cast<To>(from[j]);
  });
}

template <class From> Rows take_as(DType to) {
  switch (to) {
    case DType::F32: return take<From, float>;
    case DType::F64: return take<From, double>;
    case DType::I64: return std::is_integral_v<From> ? take<From, int64_t> : nullptr;
    default: return nullptr;
  }
}

// What converts rows, or null; equal types are copied.
Rows conversion(DType from, DType to) {
  switch (from) {
    case DType::Bool: case DType::U8: return take_as<uint8_t>(to);
    case DType::I32: return take_as<int32_t>(to);
    case DType::U32: return take_as<uint32_t>(to);
    case DType::I64: return take_as<int64_t>(to);
    case DType::F32: return take_as<float>(to);
    case DType::F64: return take_as<double>(to);
    default: return nullptr;
  }
}

bool consecutive(const int64_t* rows, int64_t batch) {
  for (int64_t i = 1; i < batch; i++)
    if (rows[i] != rows[0] + i) return false;
  return true;
}

}  // namespace

bool converts(const std::string& from, const std::string& to) {
  static const std::string known[] = {"bool", "uint8", "int32", "uint32", "int64", "float32",
                                      "float64"};
  auto is = [](const std::string& name) {
    return std::find(std::begin(known), std::end(known), name) != std::end(known);
  };
  return is(from) && is(to) && (from == to || conversion(dtype_of(from), dtype_of(to)));
}

void run_steps(const Program& program, std::vector<char*>& at, const int64_t* rows, int64_t steps,
               int64_t batch, const std::vector<Samples>& tables,
               const std::vector<Record>& records, const std::vector<Renewed>& renewed,
               int64_t& done) {
  std::vector<std::unique_ptr<Aligned>> memory(tables.size());   // made when rows are gathered
  for (auto& r : records) at[r.value] = r.data;
  for (done = 0; done < steps; rows += batch) {
    bool neighbours = consecutive(rows, batch);
    for (size_t i = 0; i < tables.size(); i++) {
      const Samples& samples = tables[i];
      const Value& v = program.at(samples.value);
      int64_t width = batch ? v.size / batch : 0;
      size_t bytes = width * size_of(v.dtype);
      if (neighbours && samples.dtype == v.dtype) {                // nothing moves
        at[samples.value] = const_cast<char*>(samples.data) + rows[0] * bytes;
        continue;
      }
      if (!memory[i]) memory[i] = std::make_unique<Aligned>(v.bytes);
      char* out = at[samples.value] = memory[i]->data;
      if (samples.dtype == v.dtype)
        each_row<char>(samples, rows, batch, bytes, [&](int64_t i, const char* from) {
          std::memcpy(out + i * bytes, from, bytes);
        });
      else
        conversion(samples.dtype, v.dtype)(samples, rows, batch, width, out);
    }
    for (auto& r : renewed) at[r.fresh] = r.memory[done % 2];
    program.run(0, program.steps().size(), at.data());
    for (auto& r : renewed) at[r.variable] = at[r.fresh];
    for (auto& r : records) at[r.value] += program.at(r.value).bytes;
    done++;
  }
}

}  // namespace gradatim
