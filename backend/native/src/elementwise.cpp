// The instruction set of elementwise chains, and the loop over blocks that runs a chain.
#include "elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <stdexcept>

#include "vector_math.hpp"

// One loop each, built for the newest instructions and picked when the library is loaded.
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

namespace gradatim {
namespace {

constexpr int BLOCK = 512;   // elements per register: 16 registers of float stay in 32 KB

using Kernel = void (*)(void* d, const void* a, const void* b, const void* c, int n);

#define LOOP(name, R, T, expression)                                                         \
  VECTORISED void name(void* d_, const void* a_, const void* b_, const void* c_, int n) {    \
    R* d = static_cast<R*>(d_);   /* may be one of the sources */                            \
    const T* a = static_cast<const T*>(a_);                                                  \
    const T* b = static_cast<const T*>(b_);                                                  \
    const T* c = static_cast<const T*>(c_);                                                  \
    (void)a; (void)b; (void)c;                                                               \
    _Pragma("GCC ivdep") for (int i = 0; i < n; i++) d[i] = expression;                      \
  }

#define ARITHMETIC(T, suffix)                                                                \
  LOOP(add_##suffix, T, T, a[i] + b[i])                                                      \
  LOOP(sub_##suffix, T, T, a[i] - b[i])                                                      \
  LOOP(mul_##suffix, T, T, a[i] * b[i])                                                      \
  LOOP(neg_##suffix, T, T, -a[i])                                                            \
  LOOP(lt_##suffix, uint8_t, T, a[i] < b[i])                                                 \
  LOOP(le_##suffix, uint8_t, T, a[i] <= b[i])                                                \
  LOOP(gt_##suffix, uint8_t, T, a[i] > b[i])                                                 \
  LOOP(ge_##suffix, uint8_t, T, a[i] >= b[i])                                                \
  LOOP(eq_##suffix, uint8_t, T, a[i] == b[i])                                                \
  LOOP(ne_##suffix, uint8_t, T, a[i] != b[i])                                                \
  VECTORISED void select_##suffix(void* d_, const void* a_, const void* b_, const void* c_,  \
                                  int n) {                                                   \
    T* d = static_cast<T*>(d_);                                                              \
    const uint8_t* a = static_cast<const uint8_t*>(a_);                                      \
    const T* b = static_cast<const T*>(b_);                                                  \
    const T* c = static_cast<const T*>(c_);                                                  \
    _Pragma("GCC ivdep") for (int i = 0; i < n; i++) d[i] = a[i] ? b[i] : c[i];              \
  }

#define FLOATING(T, suffix)                                                                  \
  LOOP(div_##suffix, T, T, a[i] / b[i])                                                      \
  LOOP(abs_##suffix, T, T, std::fabs(a[i]))                                                  \
  LOOP(sqrt_##suffix, T, T, std::sqrt(a[i]))                                                 \
  LOOP(floor_##suffix, T, T, std::floor(a[i]))                                               \
  LOOP(ceil_##suffix, T, T, std::ceil(a[i]))                                                 \
  LOOP(rint_##suffix, T, T, std::nearbyint(a[i]))                                            \
  LOOP(sin_##suffix, T, T, std::sin(a[i]))                                                   \
  LOOP(cos_##suffix, T, T, std::cos(a[i]))                                                   \
  LOOP(tan_##suffix, T, T, std::tan(a[i]))                                                   \
  LOOP(asin_##suffix, T, T, std::asin(a[i]))                                                 \
  LOOP(acos_##suffix, T, T, std::acos(a[i]))                                                 \
  LOOP(atan_##suffix, T, T, std::atan(a[i]))                                                 \
  LOOP(sinh_##suffix, T, T, std::sinh(a[i]))                                                 \
  LOOP(cosh_##suffix, T, T, std::cosh(a[i]))                                                 \
  LOOP(asinh_##suffix, T, T, std::asinh(a[i]))                                               \
  LOOP(acosh_##suffix, T, T, std::acosh(a[i]))                                               \
  LOOP(atanh_##suffix, T, T, std::atanh(a[i]))                                               \
  LOOP(erf_##suffix, T, T, std::erf(a[i]))                                                   \
  LOOP(pow_##suffix, T, T, std::pow(a[i], b[i]))                                             \
  LOOP(fmod_##suffix, T, T, std::fmod(a[i], b[i]))                                           \
  LOOP(lerp_##suffix, T, T, a[i] + (b[i] - a[i]) * c[i])                                     \
  LOOP(sqrt_add_##suffix, T, T, std::sqrt(a[i]) + b[i])                                      \
  LOOP(sub_div_##suffix, T, T, a[i] - b[i] / c[i])                                           \
  LOOP(gate_##suffix, T, T, a[i] > 0 ? b[i] : 0)

ARITHMETIC(float, float32)
ARITHMETIC(double, float64)
ARITHMETIC(int32_t, int32)
ARITHMETIC(int64_t, int64)
FLOATING(float, float32)
FLOATING(double, float64)
LOOP(abs_int32, int32_t, int32_t, a[i] < 0 ? -a[i] : a[i])
LOOP(abs_int64, int64_t, int64_t, a[i] < 0 ? -a[i] : a[i])
LOOP(exp_float32, float, float, math::exp(a[i]))
LOOP(expm1_float32, float, float, math::expm1(a[i]))
LOOP(log_float32, float, float, math::log(a[i]))
LOOP(log1p_float32, float, float, math::log1p(a[i]))
LOOP(tanh_float32, float, float, math::tanh(a[i]))
LOOP(exp_float64, double, double, std::exp(a[i]))
LOOP(expm1_float64, double, double, std::expm1(a[i]))
LOOP(log_float64, double, double, std::log(a[i]))
LOOP(log1p_float64, double, double, std::log1p(a[i]))
LOOP(tanh_float64, double, double, std::tanh(a[i]))
LOOP(not_bool, uint8_t, uint8_t, !a[i])
LOOP(and_bool, uint8_t, uint8_t, a[i] && b[i])
LOOP(or_bool, uint8_t, uint8_t, a[i] || b[i])
LOOP(eq_bool, uint8_t, uint8_t, a[i] == b[i])
LOOP(ne_bool, uint8_t, uint8_t, a[i] != b[i])
LOOP(select_bool, uint8_t, uint8_t, a[i] ? b[i] : c[i])

#define CASTS(T, suffix)                                                                     \
  LOOP(cast_##suffix##_float32, float, T, static_cast<float>(a[i]))                          \
  LOOP(cast_##suffix##_float64, double, T, static_cast<double>(a[i]))                        \
  LOOP(cast_##suffix##_int32, int32_t, T, static_cast<int32_t>(a[i]))                        \
  LOOP(cast_##suffix##_int64, int64_t, T, static_cast<int64_t>(a[i]))                        \
  LOOP(cast_##suffix##_uint8, uint8_t, T, static_cast<uint8_t>(a[i]))                        \
  LOOP(cast_##suffix##_bool, uint8_t, T, a[i] != T(0))

CASTS(float, float32)
CASTS(double, float64)
CASTS(int32_t, int32)
CASTS(int64_t, int64)
CASTS(uint8_t, uint8)
CASTS(uint8_t, bool)

#define ROW(op, suffix) {#op "_" #suffix, op##_##suffix}
#define ARITHMETIC_ROWS(s)                                                                   \
  ROW(add, s), ROW(sub, s), ROW(mul, s), ROW(neg, s), ROW(abs, s), ROW(lt, s), ROW(le, s),   \
      ROW(gt, s), ROW(ge, s), ROW(eq, s), ROW(ne, s), ROW(select, s)
#define FLOATING_ROWS(s)                                                                     \
  ROW(div, s), ROW(sqrt, s), ROW(floor, s), ROW(ceil, s), ROW(rint, s), ROW(sin, s),         \
      ROW(cos, s), ROW(tan, s), ROW(asin, s), ROW(acos, s), ROW(atan, s), ROW(sinh, s),      \
      ROW(cosh, s), ROW(asinh, s), ROW(acosh, s), ROW(atanh, s), ROW(erf, s), ROW(pow, s),   \
      ROW(fmod, s), ROW(exp, s), ROW(expm1, s), ROW(log, s), ROW(log1p, s), ROW(tanh, s),    \
      ROW(lerp, s), ROW(sqrt_add, s), ROW(sub_div, s), ROW(gate, s)
#define CAST_ROWS(s)                                                                         \
  ROW(cast_##s, float32), ROW(cast_##s, float64), ROW(cast_##s, int32), ROW(cast_##s, int64), \
      ROW(cast_##s, uint8), ROW(cast_##s, bool)

const std::map<std::string, Kernel>& kernels() {
  static const std::map<std::string, Kernel> table = {
      ARITHMETIC_ROWS(float32), ARITHMETIC_ROWS(float64), ARITHMETIC_ROWS(int32),
      ARITHMETIC_ROWS(int64), FLOATING_ROWS(float32), FLOATING_ROWS(float64), ROW(not, bool),
      ROW(and, bool), ROW(or, bool), ROW(eq, bool), ROW(ne, bool), ROW(select, bool),
      CAST_ROWS(float32), CAST_ROWS(float64), CAST_ROWS(int32), CAST_ROWS(int64),
      CAST_ROWS(uint8), CAST_ROWS(bool)};
  return table;
}

void fill(void* d, DType dtype, double number, int n) {
  switch (dtype) {
    case DType::F32: std::fill_n(static_cast<float*>(d), n, static_cast<float>(number)); break;
    case DType::F64: std::fill_n(static_cast<double*>(d), n, number); break;
    case DType::I32: std::fill_n(static_cast<int32_t*>(d), n, static_cast<int32_t>(number)); break;
    case DType::I64: std::fill_n(static_cast<int64_t*>(d), n, static_cast<int64_t>(number)); break;
    default: std::fill_n(static_cast<uint8_t*>(d), n, static_cast<uint8_t>(number));
  }
}

// Axes of a chain, merged where every operand runs through them as through one.
struct Walk {
  std::vector<int64_t> shape;
  std::vector<std::vector<int64_t>> strides;   // per operand, as many as axes
};

Walk merged(std::vector<int64_t> shape, const std::vector<const Operand*>& operands) {
  Walk walk;
  walk.strides.resize(operands.size());
  for (size_t axis = 0; axis < shape.size(); axis++) {
    if (shape[axis] == 1) continue;
    bool joins = !walk.shape.empty();
    for (size_t o = 0; o < operands.size() && joins; o++)
      joins = walk.strides[o].back() == operands[o]->strides[axis] * shape[axis];
    if (joins) {
      walk.shape.back() *= shape[axis];
      for (size_t o = 0; o < operands.size(); o++)
        walk.strides[o].back() = operands[o]->strides[axis];
    } else {
      walk.shape.push_back(shape[axis]);
      for (size_t o = 0; o < operands.size(); o++)
        walk.strides[o].push_back(operands[o]->strides[axis]);
    }
  }
  return walk;
}

template <class T>
void gather_run(T* d, const T* s, int64_t stride, int64_t n) {
  if (stride == 1) std::memcpy(d, s, n * sizeof(T));
  else if (stride == 0) std::fill_n(d, n, *s);
  else for (int64_t i = 0; i < n; i++) d[i] = s[i * stride];
}

// Elements [start, start + n) of the chain, taken from a strided operand.
void load(char* d, const char* base, size_t width, const std::vector<int64_t>& shape,
          const std::vector<int64_t>& strides, int64_t start, int64_t n) {
  int axes = static_cast<int>(shape.size());
  int64_t index[8], at = 0, rest = start;
  for (int i = axes - 1; i >= 0; i--) {
    index[i] = rest % shape[i];
    rest /= shape[i];
    at += index[i] * strides[i];
  }
  int inner = axes - 1;
  while (n > 0) {
    int64_t run = axes ? std::min<int64_t>(n, shape[inner] - index[inner]) : 1;
    int64_t stride = axes ? strides[inner] : 0;
    const char* s = base + at * static_cast<int64_t>(width);
    if (width == 4) gather_run((int32_t*)d, (const int32_t*)s, stride, run);
    else if (width == 8) gather_run((int64_t*)d, (const int64_t*)s, stride, run);
    else if (width == 2) gather_run((int16_t*)d, (const int16_t*)s, stride, run);
    else gather_run((uint8_t*)d, (const uint8_t*)s, stride, run);
    d += run * width;
    n -= run;
    if (n <= 0) break;
    at += run * stride;
    index[inner] += run;
    for (int i = inner; i > 0 && index[i] == shape[i]; i--) {
      at += strides[i - 1] - shape[i] * strides[i];
      index[i] = 0;
      index[i - 1]++;
    }
  }
}

struct Planned {            // an instruction ready to run
  Kernel kernel;
  int dst, a, b, c;
};

}  // namespace

struct ChainCode {
  std::string name;
  int64_t size;
  Walk walk;
  std::vector<Operand> inputs, outputs;
  std::vector<size_t> input_width, output_width;
  std::vector<char> direct;                        // inputs read where they lie
  std::vector<char> steady;                        // inputs that are the same in every block
  std::vector<char> in_place;                      // outputs computed where they are to lie
  int64_t block = BLOCK;                           // elements at a time
  std::vector<int> input_register, output_register;
  std::vector<std::pair<int, std::pair<DType, double>>> fills;
  std::vector<Planned> code;
  int registers;
  size_t stride;                                   // bytes from one register to the next

  int64_t count() const { return (size + block - 1) / block; }

  void blocks(char* const* at, int64_t begin, int64_t end) const {
    static thread_local std::vector<char> memory;
    size_t need = registers * stride + 64;
    if (memory.size() < need) memory.resize(need);
    char* first = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
    char* own[256];
    char* where[256];
    for (int r = 0; r < registers; r++) where[r] = own[r] = first + r * stride;
    int filled = static_cast<int>(std::min(block, size));
    for (auto& [r, filling] : fills) fill(own[r], filling.first, filling.second, filled);
    auto read = [&](size_t i, int64_t start, int64_t n) {
      load(own[input_register[i]], at[inputs[i].value] + inputs[i].offset * input_width[i],
           input_width[i], walk.shape, walk.strides[i], start, n);
    };
    for (size_t i = 0; i < inputs.size(); i++)
      if (steady[i]) read(i, 0, std::min(block, size));
    for (int64_t number = begin; number < end; number++) {
      int64_t start = number * block;
      int n = static_cast<int>(std::min<int64_t>(block, size - start));
      for (size_t i = 0; i < inputs.size(); i++) {
        if (direct[i])
          where[input_register[i]] = at[inputs[i].value] +
                                     (inputs[i].offset + start) * input_width[i];
        else if (!steady[i])
          read(i, start, n);
      }
      auto target = [&](size_t i) {
        return at[outputs[i].value] + (outputs[i].offset + start) * output_width[i];
      };
      for (size_t i = 0; i < outputs.size(); i++)
        if (in_place[i]) where[output_register[i]] = target(i);
      for (const Planned& p : code)
        p.kernel(where[p.dst], where[p.a], where[p.b], where[p.c], n);
      for (size_t i = 0; i < outputs.size(); i++)
        if (!in_place[i]) std::memcpy(target(i), where[output_register[i]], n * output_width[i]);
    }
  }

  // Whether an output's register may be its memory: one instruction writes it, and what that
  // overwrites (a variable's old value) is not read any more.
  bool computed_in_place(size_t output) const {
    int r = output_register[output], writers = 0;
    size_t writer = 0;
    for (size_t k = 0; k < code.size(); k++)
      if (code[k].dst == r) writers++, writer = k;
    if (writers != 1 || std::count(output_register.begin(), output_register.end(), r) > 1)
      return false;
    for (size_t i = 0; i < inputs.size(); i++)
      if (inputs[i].value == outputs[output].value && direct[i])
        for (size_t k = writer + 1; k < code.size(); k++)
          if (code[k].a == input_register[i] || code[k].b == input_register[i] ||
              code[k].c == input_register[i])
            return false;
    return true;
  }
};

std::vector<std::string> elementwise_loops() {
  std::vector<std::string> names;
  for (auto& [name, kernel] : kernels()) names.push_back(name);
  return names;
}

Chain elementwise_chain(
    const Program& program, std::string name, std::vector<int64_t> shape,
    std::vector<Operand> inputs, std::vector<Operand> outputs, std::vector<int> output_registers,
    std::vector<Instruction> code, int registers) {
  if (registers > 250) throw std::invalid_argument("an elementwise chain of too many registers");
  auto made = std::make_shared<ChainCode>();
  ChainCode& chain = *made;
  chain.name = std::move(name);
  chain.size = 1;
  for (int64_t n : shape) chain.size *= n;
  std::vector<const Operand*> all;
  for (auto& o : inputs) all.push_back(&o);
  for (auto& o : outputs) all.push_back(&o);
  chain.walk = merged(shape, all);
  chain.registers = registers;
  chain.input_register.assign(inputs.size(), 0);
  size_t width = 1;
  for (auto& o : inputs) chain.input_width.push_back(size_of(program.at(o.value).dtype));
  for (auto& o : outputs) chain.output_width.push_back(size_of(program.at(o.value).dtype));
  for (auto& i : code) {
    width = std::max({width, size_of(dtype_of(i.dtype)), size_of(dtype_of(i.to))});
    if (i.op == "load") {
      chain.input_register[static_cast<int>(i.number)] = i.dst;
    } else if (i.op == "fill") {
      chain.fills.push_back({i.dst, {dtype_of(i.dtype), i.number}});
    } else {
      std::string key = i.op + "_" + i.dtype + (i.op == "cast" ? "_" + i.to : "");
      auto found = kernels().find(key);
      if (found == kernels().end()) throw std::invalid_argument("no elementwise loop for " + key);
      chain.code.push_back({found->second, i.dst, i.a, i.b, i.c});
    }
  }
  for (size_t i = 0; i < inputs.size(); i++) {
    auto& s = chain.walk.strides[i];
    bool in_order = !s.empty() && s.back() == 1;
    for (size_t axis = 1; axis < s.size(); axis++)
      in_order = in_order && s[axis - 1] == s[axis] * chain.walk.shape[axis];
    chain.direct.push_back(in_order);
    // A single number, or one for each entry of a short last axis: blocks hold whole periods.
    bool outer = std::all_of(s.begin(), s.end() - !s.empty(), [](int64_t n) { return n == 0; });
    chain.steady.push_back(outer && (s.empty() || s.back() == 0 ||
                                     (s.size() > 1 && chain.walk.shape.back() <= BLOCK / 4)));
    if (chain.steady[i] && !s.empty() && s.back())
      chain.block = BLOCK / chain.walk.shape.back() * chain.walk.shape.back();
  }
  chain.inputs = std::move(inputs);
  chain.outputs = std::move(outputs);
  chain.output_register = std::move(output_registers);
  for (size_t i = 0; i < chain.outputs.size(); i++)
    chain.in_place.push_back(chain.computed_in_place(i));
  // A cache line more than a block: equal places of all registers would share few sets.
  chain.stride = BLOCK * width + 64;
  return {made};
}

void add_elementwise(Program& program, std::vector<Chain> chains) {
  std::vector<int> uses;
  std::vector<int64_t> first = {0};                 // of each chain's blocks, in one row of all
  double flops = 0;
  size_t longest = 0;
  for (auto& [chain] : chains) {
    for (auto& o : chain->inputs) uses.push_back(o.value);
    for (auto& o : chain->outputs) uses.push_back(o.value);
    first.push_back(first.back() + chain->count());
    flops += static_cast<double>(chain->size) * chain->code.size();
    longest = std::max(longest, chain->code.size());
  }
  int64_t grain = std::max<int64_t>(1, 16384 / BLOCK / std::max<size_t>(1, longest / 4));
  std::string name = chains.front().code->name;
  if (chains.size() > 1) name += " of " + std::to_string(chains.size()) + " tensors";
  program.step(name, uses, [chains = std::move(chains), first, grain](char* const* at) {
    parallel(first.back(), grain, [&](int64_t begin, int64_t end) {
      for (size_t i = 0; i < chains.size(); i++) {
        int64_t from = std::max(begin, first[i]), to = std::min(end, first[i + 1]);
        if (from < to) chains[i].code->blocks(at, from - first[i], to - first[i]);
      }
    });
  }, flops);
}

}  // namespace gradatim
