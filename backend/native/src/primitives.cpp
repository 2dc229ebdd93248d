// Matrix products and convolutions by oneDNN; activations lie channels last, as in the graph.
#include "primitives.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>

#include "threads.hpp"
#include "few_channels.hpp"
#include "recurrent.hpp"
#include "vectorised.hpp"
#include "winograd.hpp"

namespace gradatim {
namespace {

using dnnl::memory;
constexpr auto F32 = memory::data_type::f32, BF16 = memory::data_type::bf16;

const dnnl::engine& engine() {
  static const dnnl::engine one(dnnl::engine::kind::cpu, 0);
  return one;
}

dnnl::stream& stream() {   // each thread that runs programs has its own
  static thread_local dnnl::stream one(engine());
  return one;
}

// ReLU as the reference has it: -inf becomes 0 and NaN stays. Of oneDNN's post-ops one makes 0 of
// NaN and the other NaN of -inf, so it follows a primitive while its results are in the cache.
VECTORISED void rectify(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = x[i] < 0.0f ? 0.0f : x[i];
}

// A primitive with its scratch memory in the arena. Memory objects are costly to make, so each run
// takes a set that no other thread is using and points it at the call's memory.
class Call {
 public:
  dnnl::primitive primitive;
  bool alone = false;                                 // one thread is faster than several
  std::vector<std::pair<int, memory::desc>> values;   // value number and layout
  std::vector<int> roles;
  std::vector<int64_t> offsets;
  int rectified = -1;                                 // the value, all of it, that ReLU is taken of
  int64_t size = 0;                                   // its elements

  void run(char* const* at) {
    auto set = take();
    for (size_t i = 0; i < roles.size(); i++)
      dnnl_memory_set_data_handle(set->memories[i].get(),
                                  at[values[i].first] + offsets[i]);
    Team team(alone ? 1 : max_threads());
    dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive.get(), stream().get(),
                                                   static_cast<int>(set->arguments.size()),
                                                   set->arguments.data()),
                            "a primitive failed");
    if (rectified >= 0) {
      float* x = reinterpret_cast<float*>(at[rectified]);
      parallel(size, 16384, [&](int64_t begin, int64_t end) { rectify(x + begin, end - begin); });
    }
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(set));
  }

 private:
  struct Set {
    std::vector<memory> memories;
    std::vector<dnnl_exec_arg_t> arguments;
  };

  std::unique_ptr<Set> take() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        auto set = std::move(free_.back());
        free_.pop_back();
        return set;
      }
    }
    auto set = std::make_unique<Set>();
    for (size_t i = 0; i < roles.size(); i++) {
      set->memories.emplace_back(values[i].second, engine(), static_cast<void*>(nullptr));
      set->arguments.push_back({roles[i], set->memories.back().get()});
    }
    return set;
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Set>> free_;
};

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

struct Builder {
  Program& program;
  std::shared_ptr<Call> call = std::make_shared<Call>();
  std::vector<int> uses;

  explicit Builder(Program& program) : program(program) {}

  void bind(int role, int value, memory::desc desc, int64_t offset = 0) {
    call->roles.push_back(role);
    call->values.emplace_back(value, desc);
    call->offsets.push_back(offset * static_cast<int64_t>(size_of(program.at(value).dtype)));
    uses.push_back(value);
  }

  void activate(const std::string& activation, int value) {
    if (activation.empty()) return;
    if (activation != "relu") throw std::invalid_argument("no fused activation " + activation);
    call->rectified = value;
    call->size = program.at(value).size;
  }

  void take(const dnnl::primitive& primitive, const memory::desc& scratch) {
    if (scratch.get_size()) {
      int number = program.value({static_cast<int64_t>(scratch.get_size())}, "uint8", Home::Arena);
      bind(DNNL_ARG_SCRATCHPAD, number, scratch);
    }
    call->primitive = primitive;
  }

  void finish(const std::string& name, const dnnl::primitive& primitive,
              const memory::desc& scratch, double flops, bool once = false) {
    take(primitive, scratch);
    Run run = [call = call](char* const* at) { call->run(at); };
    if (once) program.step_once(name, uses, run);
    else program.step(name, uses, run, flops);
  }
};

memory::data_type type_of(const Program& program, int value) {
  return program.at(value).dtype == DType::BF16 ? BF16 : F32;
}

// The value in a layout the primitive prefers: itself, or a reordered copy made by a step, for
// weights by one that runs once.
int reordered(Program& program, int value, const memory::desc& from, const memory::desc& to) {
  if (from == to) return value;
  bool once = program.fixed(value);
  int number = program.value({static_cast<int64_t>(to.get_size())}, "uint8", Home::Arena);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, attr);
  Builder builder(program);
  builder.bind(DNNL_ARG_FROM, value, from);
  builder.bind(DNNL_ARG_TO, number, to);
  builder.finish("reorder", dnnl::reorder(pd), pd.scratchpad_desc(), 0, once);
  return number;
}

memory::desc plain(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
                   memory::data_type type = F32) {
  return memory::desc(memory::dims(shape), type, memory::dims(strides));
}

}  // namespace

constexpr double ALONE = 3e5;   // FLOPs of a product up to which one thread computes it

bool has_bfloat16() {
  const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");       // oneDNN's own variable
  for (const char* older : {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"})
    if (most && !std::strcmp(most, older)) return false;
  return __builtin_cpu_supports("avx512bf16");
}

void add_matmul(Program& program, Matrix x, Matrix y, Matrix out, int bias,
                const std::string& activation) {
  double flops = 2.0 * x.shape.back();
  for (int64_t n : out.shape) flops *= n;
  bool alone = flops <= ALONE;
  Team team(alone ? 1 : max_threads());
  auto attr = attributes();
  memory::desc xd = plain(x.shape, x.strides, type_of(program, x.value)),
               yd = plain(y.shape, y.strides, type_of(program, y.value)),
               od = plain(out.shape, out.strides);
  Builder builder(program);
  dnnl::matmul::primitive_desc pd;
  memory::desc bd;
  if (bias >= 0) {
    std::vector<int64_t> shape(out.shape.size(), 1), strides(out.shape.size(), out.shape.back());
    shape.back() = out.shape.back();
    strides.back() = 1;
    bd = plain(shape, strides);
    pd = dnnl::matmul::primitive_desc(engine(), xd, yd, bd, od, attr);
    builder.bind(DNNL_ARG_BIAS, bias, bd);
  } else {
    pd = dnnl::matmul::primitive_desc(engine(), xd, yd, od, attr);
  }
  builder.bind(DNNL_ARG_SRC, x.value, xd, x.offset);
  builder.bind(DNNL_ARG_WEIGHTS, y.value, yd, y.offset);
  builder.bind(DNNL_ARG_DST, out.value, od, out.offset);
  builder.activate(activation, out.value);
  builder.call->alone = alone;
  builder.finish("matmul", dnnl::matmul(pd), pd.scratchpad_desc(), flops);
}

namespace {

// Sizes of a convolution in oneDNN's order of axes, over memory that lies channels last.
struct Layouts {
  memory::desc x, kernel, out, any_kernel, bias;
  memory::desc forward_x, forward_kernel, forward_out;      // one type: what the forward pass reads
  memory::dims strides, dilation, low, high;
  double flops;

  Layouts(const Program& program, const Array& x_, const Array& k, const Array& o,
          const Window& w, int64_t groups) {
    auto type = type_of(program, k.value);
    auto both = type == BF16 || type_of(program, x_.value) == BF16 ? BF16 : F32;
    x = channels_last(x_.shape, type_of(program, x_.value));
    out = channels_last(o.shape, type_of(program, o.value));
    size_t axes = k.shape.size() - 2;
    int64_t in = k.shape[axes], filters = k.shape[axes + 1];
    // Kernel (*window, in / groups, filters) as ([g,] o, i, *window).
    memory::dims dims, strides_;
    if (groups > 1) {
      dims.push_back(groups);
      strides_.push_back(filters / groups);
    }
    dims.push_back(filters / groups);
    strides_.push_back(1);
    dims.push_back(in);
    strides_.push_back(filters);
    int64_t step = in * filters;
    std::vector<int64_t> window_strides(axes);
    for (size_t i = axes; i-- > 0;) {
      window_strides[i] = step;
      step *= k.shape[i];
    }
    for (size_t i = 0; i < axes; i++) {
      dims.push_back(k.shape[i]);
      strides_.push_back(window_strides[i]);
    }
    kernel = memory::desc(dims, type, strides_);
    any_kernel = memory::desc(dims, type, memory::format_tag::any);
    forward_x = channels_last(x_.shape, both);
    forward_kernel = memory::desc(dims, both, memory::format_tag::any);
    forward_out = channels_last(o.shape, F32);
    bias = memory::desc({filters}, F32, memory::format_tag::a);
    strides = w.strides;
    dilation = w.dilation;
    for (auto& d : dilation) d -= 1;
    low = w.low;
    high = w.high;
    flops = 2.0 * o.size() * in;
    for (size_t i = 0; i < axes; i++) flops *= k.shape[i];
  }

  static memory::desc channels_last(const std::vector<int64_t>& s, memory::data_type type) {
    memory::dims dims{s[0], s.back()}, strides{1, 1};
    int64_t step = s.back();
    memory::dims spatial(s.size() - 2);
    for (size_t i = s.size() - 2; i-- > 0;) {
      spatial[i] = step;
      step *= s[i + 1];
    }
    strides[0] = step;
    for (size_t i = 0; i + 2 < s.size(); i++) {
      dims.push_back(s[i + 1]);
      strides.push_back(spatial[i]);
    }
    return memory::desc(dims, type, strides);
  }

  dnnl::convolution_forward::primitive_desc forward(bool with_bias,
                                                    const dnnl::primitive_attr& attr) const {
    auto kind = dnnl::prop_kind::forward_training;
    auto how = dnnl::algorithm::convolution_direct;
    if (with_bias)
      return {engine(), kind, how, forward_x, forward_kernel, bias, forward_out, strides, dilation,
              low, high, attr};
    return {engine(), kind, how, forward_x, forward_kernel, forward_out, strides, dilation, low,
            high, attr};
  }
};

}  // namespace

int add_convolution(Program& program, Array x, Array kernel, Array out, int bias, Window window,
                    int64_t groups, const std::string& activation, bool summed, int image_weights) {
  Layouts l(program, x, kernel, out, window, groups);
  if (type_of(program, kernel.value) == F32 &&
      winograd_fits(x, kernel, out, window, groups))
    return add_winograd(program, x, kernel, out, bias, window, activation, summed, image_weights,
                        l.flops);
  if (x.shape.back() <= 4 && type_of(program, kernel.value) == F32 &&
      few_channels_fit(kernel, window, groups, 1)) {
    add_few_channels(program, x, kernel, out, -1, bias, window, 1, activation == "relu");
    return -1;
  }
  auto pd = l.forward(bias >= 0, attributes());
  int weights = reordered(program, kernel.value, l.kernel, pd.weights_desc());
  Builder builder(program);
  builder.bind(DNNL_ARG_SRC, x.value, l.x);
  builder.bind(DNNL_ARG_WEIGHTS, weights, pd.weights_desc());
  if (bias >= 0) builder.bind(DNNL_ARG_BIAS, bias, l.bias);
  builder.bind(DNNL_ARG_DST, out.value, l.out);
  builder.activate(activation, out.value);
  builder.finish("convolution", dnnl::convolution_forward(pd), pd.scratchpad_desc(), l.flops);
  return -1;
}

bool add_convolution_pool(Program& program, Array x, Array kernel, Array between, Array out,
                          int indices, int bias, Window window, int64_t groups, bool relu) {
  if (type_of(program, x.value) != F32 || type_of(program, kernel.value) != F32) return false;
  if (winograd_fits(x, kernel, between, window, groups))
    add_winograd_pool(program, x, kernel, between, out, indices, bias, window, relu);
  else if (x.shape.back() <= 4 && few_channels_fit(kernel, window, groups, 2))
    add_few_channels(program, x, kernel, out, indices, bias, window, 2, relu);
  else
    return false;
  return true;
}

void add_convolution_data_gradient(Program& program, Array g, Array kernel, Array out,
                                   Window window, int64_t groups) {
  Layouts l(program, out, kernel, g, window, groups);
  if (type_of(program, kernel.value) == F32 &&
      winograd_fits(g, kernel, out, window, groups))
    return add_winograd_data_gradient(program, g, kernel, out, window, l.flops);
  auto attr = attributes();
  dnnl::convolution_backward_data::primitive_desc pd(
      engine(), dnnl::algorithm::convolution_direct, l.x, l.any_kernel, l.out, l.strides,
      l.dilation, l.low, l.high, l.forward(false, attr), attr);
  int weights = reordered(program, kernel.value, l.kernel, pd.weights_desc());
  Builder builder(program);
  builder.bind(DNNL_ARG_DIFF_DST, g.value, l.out);
  builder.bind(DNNL_ARG_WEIGHTS, weights, pd.weights_desc());
  builder.bind(DNNL_ARG_DIFF_SRC, out.value, l.x);
  builder.finish("convolution_data_gradient", dnnl::convolution_backward_data(pd),
                 pd.scratchpad_desc(), l.flops);
}

void add_convolution_kernel_gradient(Program& program, Array x, Array g, Array out, int bias_gradient,
                                     Window window, int64_t groups) {
  Layouts l(program, x, out, g, window, groups);
  if (type_of(program, x.value) == F32 &&
      winograd_fits(x, out, g, window, groups))
    return add_winograd_kernel_gradient(program, x, g, out, bias_gradient, window, l.flops);
  if (x.shape.back() <= 4 && out.size() <= 9 * out.shape.back() &&
      type_of(program, x.value) == F32 && few_channels_fit(out, window, groups, 1))
    return add_few_channels_kernel_gradient(program, x, g, -1, out, bias_gradient, window, 1);
  auto attr = attributes();
  auto forward = l.forward(bias_gradient >= 0, attr);
  auto how = dnnl::algorithm::convolution_direct;
  auto pd = bias_gradient >= 0
      ? dnnl::convolution_backward_weights::primitive_desc(
            engine(), how, l.x, l.any_kernel, l.bias, l.out, l.strides, l.dilation, l.low, l.high,
            forward, attr)
      : dnnl::convolution_backward_weights::primitive_desc(
            engine(), how, l.x, l.any_kernel, l.out, l.strides, l.dilation, l.low, l.high,
            forward, attr);
  auto desc = pd.diff_weights_desc();
  bool same = desc == l.kernel;
  int target = same ? out.value : program.value({static_cast<int64_t>(desc.get_size() / 4)}, "float32",
                                          Home::Arena);
  {
    Builder builder(program);
    builder.bind(DNNL_ARG_SRC, x.value, l.x);
    builder.bind(DNNL_ARG_DIFF_DST, g.value, l.out);
    builder.bind(DNNL_ARG_DIFF_WEIGHTS, target, desc);
    if (bias_gradient >= 0) builder.bind(DNNL_ARG_DIFF_BIAS, bias_gradient, l.bias);
    builder.finish("convolution_kernel_gradient", dnnl::convolution_backward_weights(pd),
                   pd.scratchpad_desc(), l.flops);
  }
  if (!same) {
    dnnl::primitive_attr reorder_attr;
    reorder_attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    dnnl::reorder::primitive_desc rd(engine(), desc, engine(), l.kernel, reorder_attr);
    Builder builder(program);
    builder.bind(DNNL_ARG_FROM, target, desc);
    builder.bind(DNNL_ARG_TO, out.value, l.kernel);
    builder.finish("reorder", dnnl::reorder(rd), rd.scratchpad_desc(), 0);
  }
}

}  // namespace gradatim
