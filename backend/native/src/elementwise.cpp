// Elementwise chains: the loop over blocks that runs one, and sums of what it computes.
#include "elementwise.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "loops.hpp"
#include "vectorised.hpp"

namespace gradatim {
namespace {

constexpr int BLOCK = 512;   // elements per register: 16 registers of float stay in 32 KB
constexpr int64_t FAR = 1 << 15;     // elements from which on memory is asked for ahead

void fill(void* d, DType dtype, double number, int n) {
  switch (dtype) {
    case DType::F32: std::fill_n(static_cast<float*>(d), n, static_cast<float>(number)); break;
    case DType::F64: std::fill_n(static_cast<double*>(d), n, number); break;
    case DType::I32: std::fill_n(static_cast<int32_t*>(d), n, static_cast<int32_t>(number)); break;
    case DType::I64: std::fill_n(static_cast<int64_t*>(d), n, static_cast<int64_t>(number)); break;
    default: std::fill_n(static_cast<uint8_t*>(d), n, static_cast<uint8_t>(number));
  }
}

// How an operand runs through a chain's elements: axes it runs through as through one are one.
struct Walk {
  std::vector<int64_t> shape, strides;

  Walk(const std::vector<int64_t>& axes, const Operand& operand) {
    for (size_t axis = 0; axis < axes.size(); axis++) {
      if (axes[axis] == 1) continue;
      int64_t stride = operand.strides[axis];
      if (!shape.empty() && strides.back() == stride * axes[axis]) {
        shape.back() *= axes[axis];
        strides.back() = stride;
      } else {
        shape.push_back(axes[axis]);
        strides.push_back(stride);
      }
    }
  }

  bool in_order() const { return shape.size() == 1 && strides[0] == 1; }
  // A single number, or one for each entry of a short last axis: the same in every block.
  bool steady() const {
    return shape.empty() || (shape.size() == 1 && strides[0] == 0) ||
           (shape.size() == 2 && strides[0] == 0 && shape[1] <= BLOCK / 4);
  }
  // How many elements of the chain see the same: a sample, to which belongs one number or one
  // short row. 0 where there is nothing of the kind.
  int64_t sample() const {
    if (shape.size() == 2 && strides[1] == 0) return shape[1];
    return shape.size() == 3 && strides[1] == 0 && shape[2] <= BLOCK / 4 ? shape[1] * shape[2] : 0;
  }
};

template <class T>
void gather_run(T* d, const T* s, int64_t stride, int64_t n) {
  if (stride == 1) std::memcpy(d, s, n * sizeof(T));
  else if (stride == 0) std::fill_n(d, n, *s);
  else for (int64_t i = 0; i < n; i++) d[i] = s[i * stride];
}

// Elements [start, start + n) of the chain, taken from a strided operand.
void load(char* d, const char* base, size_t width, const Walk& walk, int64_t start, int64_t n) {
  const auto &shape = walk.shape, &strides = walk.strides;
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

// Asks for bytes [begin, end) from an address on, while there is something else to do.
INLINE void ask(const char* from, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += 64) __builtin_prefetch(from + at, 0, 2);
}

struct Planned {            // an instruction ready to run
  Loop loop;
  int dst, a, b, c;
};

}  // namespace

struct ChainCode {
  std::string name;
  int64_t size;
  std::vector<Walk> walks;                         // of the inputs
  std::vector<Operand> inputs, outputs;
  std::vector<Columns> sums;
  std::vector<size_t> input_width, output_width;
  std::vector<char> direct;                        // inputs read where they lie
  std::vector<char> steady;                        // inputs that are the same in every block
  std::vector<int64_t> samples;                    // elements that see the same of an input, or 0
  std::vector<char> in_place;                      // outputs computed where they are to lie
  int64_t block = BLOCK;                           // elements at a time
  std::vector<int> input_register, output_register;
  std::vector<std::pair<int, std::pair<DType, double>>> fills;
  std::vector<Planned> code;
  int registers;
  size_t stride;                                   // bytes from one register to the next

  int64_t count() const { return (size + block - 1) / block; }

  // Runs blocks [begin, end). What sums gather of them goes to `partial`, one after another.
  void blocks(char* const* at, int64_t begin, int64_t end, char* partial = nullptr) const {
    static thread_local std::vector<char> memory;
    size_t need = (registers + sums.size()) * stride + 64;
    if (memory.size() < need) memory.resize(need);
    char* first = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
    char* own[256];
    char* where[256];
    for (int r = 0; r < registers; r++) where[r] = own[r] = first + r * stride;
    char* gathered = first + registers * stride;
    std::memset(gathered, 0, sums.size() * stride);
    int filled = static_cast<int>(std::min(block, size));
    for (auto& [r, filling] : fills) fill(own[r], filling.first, filling.second, filled);
    auto read = [&](size_t i, int64_t start, int64_t n) {
      load(own[input_register[i]], at[inputs[i].value] + inputs[i].offset * input_width[i],
           input_width[i], walks[i], start, n);
    };
    std::vector<int64_t> held(inputs.size(), -1);    // the sample whose number a register holds
    for (size_t i = 0; i < inputs.size(); i++)
      if (steady[i]) read(i, 0, std::min(block, size));
    for (int64_t number = begin; number < end; number++) {
      int64_t start = number * block;
      int n = static_cast<int>(std::min<int64_t>(block, size - start));
      for (size_t i = 0; i < inputs.size(); i++) {
        if (direct[i])
          where[input_register[i]] = at[inputs[i].value] +
                                     (inputs[i].offset + start) * input_width[i];
        else if (!steady[i]) {
          int64_t sample = samples[i] ? start / samples[i] : -1;
          bool alone = samples[i] && n == block && (start + n - 1) / samples[i] == sample;
          if (alone && held[i] == sample) continue;
          read(i, start, n);
          held[i] = alone ? sample : -1;
        }
      }
      auto target = [&](size_t i) {
        return at[outputs[i].value] + (outputs[i].offset + start) * output_width[i];
      };
      for (size_t i = 0; i < outputs.size(); i++)
        if (in_place[i]) where[output_register[i]] = target(i);
      if (size >= FAR && number + 1 < end) {           // the next block's
        for (size_t i = 0; i < inputs.size(); i++)
          if (direct[i]) ask(where[input_register[i]], n * input_width[i], 2 * n * input_width[i]);
        for (size_t i = 0; i < outputs.size(); i++)
          ask(target(i), n * output_width[i], 2 * n * output_width[i]);
      }
      for (const Planned& p : code)
        p.loop(where[p.dst], where[p.a], where[p.b], where[p.c], n);
      for (size_t i = 0; i < outputs.size(); i++)
        if (!in_place[i]) std::memcpy(target(i), where[output_register[i]], n * output_width[i]);
      for (size_t i = 0; i < sums.size(); i++) {
        char* sum = gathered + i * stride;
        sums[i].add(sum, sum, where[sums[i].where], nullptr, n);
      }
    }
    for (size_t i = 0; i < sums.size(); i++) {
      const char* sum = gathered + i * stride;
      if (sums[i].width == 4) fold<float>(partial, sum, sums[i].period);
      else fold<double>(partial, sum, sums[i].period);
      partial += sums[i].period * sums[i].width;
    }
  }

  // A block's columns, several periods of them, to one period.
  template <class T> void fold(void* to_, const void* from_, int64_t period) const {
    T* to = static_cast<T*>(to_);
    const T* from = static_cast<const T*>(from_);
    std::fill_n(to, period, T(0));
    for (int64_t i = 0; i < block; i += period)
      for (int64_t j = 0; j < period; j++) to[j] += from[i + j];
  }

  size_t partial_bytes() const {
    size_t bytes = 0;
    for (auto& sum : sums) bytes += sum.period * sum.width;
    return bytes;
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
  for (auto& [name, loop] : loops()) names.push_back(name);
  return names;
}

Chain elementwise_chain(
    const Program& program, std::string name, std::vector<int64_t> shape,
    std::vector<Operand> inputs, std::vector<Operand> outputs, std::vector<int> output_registers,
    std::vector<Instruction> code, int registers, std::vector<Columns> sums) {
  if (registers > 250) throw std::invalid_argument("an elementwise chain of too many registers");
  auto made = std::make_shared<ChainCode>();
  ChainCode& chain = *made;
  chain.name = std::move(name);
  chain.size = 1;
  for (int64_t n : shape) chain.size *= n;
  for (auto& o : inputs) chain.walks.emplace_back(shape, o);
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
      auto found = loops().find(key);
      if (found == loops().end()) throw std::invalid_argument("no elementwise loop for " + key);
      chain.code.push_back({found->second, i.dst, i.a, i.b, i.c});
    }
  }
  int64_t period = 1;
  for (const Walk& walk : chain.walks) {
    chain.direct.push_back(walk.in_order());
    chain.steady.push_back(walk.steady());
    chain.samples.push_back(walk.sample());
    bool row = walk.shape.size() > 1 && (walk.steady() || walk.sample()) && walk.strides.back();
    if (row) period = walk.shape.back();
  }
  for (Columns& sum : sums) {
    sum.width = size_of(program.at(sum.value).dtype);
    sum.add = loops().at(sum.width == 4 ? "add_float32" : "add_float64");
    period = std::max(period, sum.period);
  }
  chain.block = BLOCK / period * period;             // blocks hold whole periods
  chain.sums = std::move(sums);
  chain.inputs = std::move(inputs);
  chain.outputs = std::move(outputs);
  chain.output_register = std::move(output_registers);
  for (size_t i = 0; i < chain.outputs.size(); i++)
    chain.in_place.push_back(chain.computed_in_place(i));
  // A cache line more than a block: equal places of all registers would share few sets.
  chain.stride = BLOCK * width + 64;
  return {made};
}

void add_summed(Program& program, std::string name, std::vector<int> uses, double flops,
                std::shared_ptr<const ChainCode> chain) {
  constexpr int64_t EACH = 32;                       // blocks whose sums are added up first
  int64_t parts = (chain->count() + EACH - 1) / EACH;
  int64_t bytes = chain->partial_bytes();
  int memory = program.value({parts * bytes}, "uint8", Home::Arena);
  uses.push_back(memory);
  for (auto& sum : chain->sums) uses.push_back(sum.value);
  program.step(std::move(name), uses, [=](char* const* at) {
    parallel(parts, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; part++)
        chain->blocks(at, part * EACH, std::min(chain->count(), (part + 1) * EACH),
                      at[memory] + part * bytes);
    });
    const char* first = at[memory];
    for (auto& sum : chain->sums) {
      std::memset(at[sum.value], 0, sum.period * sum.width);
      for (int64_t part = 0; part < parts; part++) {
        const char* found = first + part * bytes;
        char* total = at[sum.value];
        sum.add(total, total, found, nullptr, static_cast<int>(sum.period));
      }
      first += sum.period * sum.width;
    }
  }, flops);
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
  if (!chains.front().code->sums.empty())
    return add_summed(program, std::move(name), std::move(uses), flops, chains.front().code);
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
