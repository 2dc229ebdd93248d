// The Python face of the core: programs are built step by step and run without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "affine.hpp"
#include "averages.hpp"
#include "convolution64.hpp"
#include "elementwise.hpp"
#include "few_channels.hpp"
#include "gram.hpp"
#include "matmul64.hpp"
#include "max_pooling.hpp"
#include "moving.hpp"
#include "normalization.hpp"
#include "onednn.hpp"
#include "past_caches.hpp"
#include "primitives.hpp"
#include "program.hpp"
#include "random.hpp"
#include "recurrent.hpp"
#include "reductions.hpp"
#include "rows.hpp"
#include "steps.hpp"
#include "threads.hpp"

namespace py = pybind11;
using namespace gradatim;

namespace {

// What a program keeps for one set of weights.
struct Block {
  std::shared_ptr<Aligned> memory;
};

// One run of a program: the arena it leases and the addresses of all values.
class Call {
 public:
  // kept: what was prepared for these weights, or none.
  Call(std::shared_ptr<Program> program, std::optional<Block> kept)
      : program_(std::move(program)), arena_(program_->lease()),
        kept_{kept ? kept->memory : std::make_shared<Aligned>(program_->kept_bytes())},
        at_(program_->addresses(*arena_, *kept_.memory)) {}
  ~Call() { program_->give_back(arena_); }

  void bind(const std::vector<int>& values, const std::vector<py::array>& arrays) {
    for (size_t i = 0; i < values.size(); i++) {
      const Value& v = program_->at(values[i]);
      const py::array& array = arrays.at(i);
      if (static_cast<size_t>(array.nbytes()) != v.bytes || !(array.flags() & py::array::c_style))
        throw std::invalid_argument("an array is bound that does not fit its value");
      at_[values[i]] = writable(array);
    }
  }

  // Computes what depends on the weights alone.
  Block prepare(int threads) {
    py::gil_scoped_release free;
    Team team(threads);
    program_->prepare(at_.data());
    return kept_;
  }

  // As many threads as the program was made for.
  void run(size_t from, size_t to, int threads) {
    py::gil_scoped_release free;
    Team team(threads);
    program_->run(from, to, at_.data());
  }

  std::vector<double> timed(int runs, int threads) {
    py::gil_scoped_release free;
    Team team(threads);
    return program_->timed(at_.data(), runs);
  }

  // Each table, record and renewed variable comes with its arrays, which the caller keeps alive.
  void run_steps(int threads, py::array_t<int64_t, py::array::c_style> rows,
                 const std::vector<std::pair<int, py::array>>& tables,
                 const std::vector<std::pair<int, py::array>>& records,
                 const std::vector<std::tuple<int, int, py::array, py::array>>& renewed) {
    std::vector<Samples> fed;
    std::vector<Record> kept;
    std::vector<Renewed> turns;
    for (auto& [value, array] : tables)
      fed.push_back({value, dtype_of(py::str(array.dtype().attr("name"))),
                     static_cast<const char*>(array.data())});
    for (auto& [value, array] : records) kept.push_back({value, writable(array)});
    for (auto& [variable, fresh, one, other] : renewed)
      turns.push_back({variable, fresh, {writable(one), writable(other)}});
    int64_t steps = rows.shape(0), batch = rows.shape(1);
    const int64_t* numbers = rows.data();
    py::gil_scoped_release free;
    Team team(threads);
    gradatim::run_steps(*program_, at_, numbers, steps, batch, fed, kept, turns, done);
  }

  int64_t done = 0;               // steps of the last run_steps that were finished

  // The memory of a value, for steps that Python computes.
  py::memoryview memory(int value) {
    return py::memoryview::from_memory(at_[value], program_->at(value).bytes, false);
  }

 private:
  static char* writable(const py::array& array) {
    return static_cast<char*>(const_cast<void*>(array.data()));
  }

  std::shared_ptr<Program> program_;
  std::shared_ptr<Aligned> arena_;
  Block kept_;
  std::vector<char*> at_;
};

using Doubles = py::array_t<double, py::array::c_style>;

Table table_of(const py::array& x) {
  const bool single = py::isinstance<py::array_t<float>>(x);
  if (!single && !py::isinstance<py::array_t<double>>(x))
    throw std::invalid_argument("a table of another type than float32 or float64");
  return {x.data(), single, x.strides(0) / x.itemsize(), x.strides(1) / x.itemsize()};
}

// Both lie whole and have as many bytes; `to` is aligned.
void put(const py::array& from, py::array to) {
  copy_past_caches(static_cast<const char*>(from.data()), static_cast<char*>(to.mutable_data()),
                   static_cast<size_t>(from.nbytes()));
}

void require(bool fits) {
  if (!fits) throw std::invalid_argument("the parts of the table do not fit together");
}

// `gram` at once, for tables with any strides.
Doubles gram_of(py::array x, Doubles y, Doubles centre, std::optional<Doubles> root) {
  const int64_t n = x.shape(0), p = x.shape(1), t = y.shape(1), columns = 1 + p + t;
  const Table table = table_of(x);
  require(y.shape(0) == n && centre.size() == p + t && (!root || root->size() == n));
  Doubles out({columns, columns});
  const double* roots = root ? root->data() : nullptr;
  double* to = out.mutable_data();
  py::gil_scoped_release free;
  gram(table, y.data(), centre.data(), roots, n, p, t, to);
  return out;
}

// `affine` at once, for tables whose rows lie whole; the kernel is (t, p).
Doubles affine_of(py::array x, Doubles kernel, Doubles bias) {
  const int64_t n = x.shape(0), p = x.shape(1), t = bias.size();
  const Table table = table_of(x);
  require(kernel.shape(0) == t && kernel.shape(1) == p && (table.column == 1 || p <= 1));
  Doubles out({n, t});
  double* to = out.mutable_data();
  py::gil_scoped_release free;
  affine(table, kernel.data(), bias.data(), n, p, t, to);
  return out;
}

Home home_of(const std::string& name) { return name == "arena" ? Home::Arena : Home::Bound; }

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of the native backend.";
  m.def("open_onednn", &open_onednn);
  m.def("loops", &elementwise_loops);
  m.def("gram", &gram_of);
  m.def("affine", &affine_of);
  m.def("put", &put);
  m.attr("GRAM_COLUMNS") = GRAM_COLUMNS;
  m.attr("AFFINE_FUNCTIONS") = AFFINE_FUNCTIONS;
  m.def("converts", &converts);
  m.def("has_sse41", &has_sse41);
  m.def("has_bfloat16", &has_bfloat16);
  m.def("max_threads", &max_threads);
  m.def("thread_limit", &thread_limit);
  m.def("threads_used", &threads_used);
  m.def("set_threads", &set_threads);
  py::class_<Operand>(m, "Operand")
      .def(py::init<int, int64_t, std::vector<int64_t>>());
  m.def("few_channels_fit", &few_channels_fit);
  py::class_<Columns>(m, "Columns").def(py::init([](int where, int value, int64_t period) {
    return Columns{where, value, period};
  }));
  py::class_<Instruction>(m, "Instruction")
      .def(py::init<std::string, std::string, std::string, int, int, int, int, double>());
  py::class_<Chain>(m, "Chain");
  py::class_<Matrix>(m, "Matrix")
      .def(py::init<int, int64_t, std::vector<int64_t>, std::vector<int64_t>>());
  py::class_<Array>(m, "Array").def(py::init<int, std::vector<int64_t>>());
  py::class_<Window>(m, "Window")
      .def(py::init<std::vector<int64_t>, std::vector<int64_t>, std::vector<int64_t>,
                    std::vector<int64_t>>());
  py::class_<Sequences>(m, "Sequences")
      .def(py::init<int64_t, int64_t, int64_t, bool, int>());
  py::class_<Program, std::shared_ptr<Program>>(m, "Program")
      .def(py::init<>())
      .def("value", [](Program& p, std::vector<int64_t> shape, const std::string& dtype,
                       const std::string& home) { return p.value(shape, dtype, home_of(home)); })
      .def("constant", [](Program& p, py::array a) {
        return p.constant(std::vector<int64_t>(a.shape(), a.shape() + a.ndim()),
                          py::str(a.dtype().attr("name")), static_cast<const char*>(a.data()));
      })
      .def("size", [](const Program& p, int value) { return p.at(value).size; })
      .def("itemsize", [](const Program& p, int value) { return size_of(p.at(value).dtype); })
      .def("keep", &Program::keep)
      .def("fix", &Program::fix)
      .def("fixed", &Program::fixed)
      .def("once", &Program::once)
      .def("finish", &Program::finish)
      .def("python_step", [](Program& p, const std::string& name, std::vector<int> uses) {
        p.step(name, std::move(uses), Run());
      })
      .def_property_readonly("arena_bytes", &Program::arena_bytes)
      .def_property_readonly("kept_bytes", &Program::kept_bytes)
      .def_property_readonly("once_steps", [](const Program& p) {
        py::list names;
        for (auto& s : p.once_steps()) names.append(s.name);
        return names;
      })
      .def_property_readonly("steps", [](const Program& p) {
        py::list names;
        for (auto& s : p.steps()) names.append(py::make_tuple(s.name, s.flops, bool(s.run)));
        return names;
      })
      .def("chain", &elementwise_chain)
      .def("elementwise", &add_elementwise)
      .def("matmul", &add_matmul)
      .def("matmul64", &add_matmul64)
      .def("convolution64", &add_convolution64)
      .def("convolution64_data_gradient", &add_convolution64_data_gradient)
      .def("convolution64_kernel_gradient", &add_convolution64_kernel_gradient)
      .def("gram", &add_gram)
      .def("affine", &add_affine)
      .def("convolution", &add_convolution)
      .def("convolution_pool", &add_convolution_pool)
      .def("few_channels_kernel_gradient", &add_few_channels_kernel_gradient)
      .def("convolution_data_gradient", &add_convolution_data_gradient)
      .def("convolution_kernel_gradient", &add_convolution_kernel_gradient)
      .def("reduce", &add_reduce)
      .def("rows", &add_rows)
      .def("cross_entropy", &add_cross_entropy)
      .def("cross_entropy_gradient", &add_cross_entropy_gradient)
      .def("max_pool", &add_max_pool)
      .def("max_pool_gradient", &add_max_pool_gradient)
      .def("gather", &add_gather)
      .def("scatter_add", &add_scatter_add)
      .def("average_pool", &add_average_pool)
      .def("average_pool_gradient", &add_average_pool_gradient)
      .def("channel_sums", &add_channel_sums)
      .def("moment_sums", &add_moment_sums)
      .def("batch_norm", &add_batch_norm)
      .def("batch_norm_sums", &add_batch_norm_sums)
      .def("layer_norm", &add_layer_norm)
      .def("layer_norm_gradient", &add_layer_norm_gradient)
      .def("move", &add_move)
      .def("fill", &add_fill)
      .def("cumsum", &add_cumsum)
      .def("take_along", &add_take_along)
      .def("put_along", &add_put_along)
      .def("one_hot", &add_one_hot)
      .def("sequence_mask", &add_sequence_mask)
      .def("reverse_sequence", &add_reverse_sequence)
      .def("random", &add_random)
      .def("lstm", &add_lstm)
      .def("lstm_gradient", &add_lstm_gradient)
      .def("gru", &add_gru)
      .def("gru_gradient", &add_gru_gradient)
      .def("simple_rnn", &add_simple_rnn)
      .def("simple_rnn_gradient", &add_simple_rnn_gradient)
      .def("mask_steps", &add_mask_steps)
      .def("take_live", &add_take_live)
      .def("put_live", &add_put_live)
      .def("sum_live", &add_sum_live)
      .def("live_product", &add_live_product)
      .def("copy", &add_copy);
  py::class_<Block>(m, "Block");
  py::class_<Call>(m, "Call")
      .def(py::init<std::shared_ptr<Program>, std::optional<Block>>())
      .def("bind", &Call::bind)
      .def("prepare", &Call::prepare)
      .def("run", &Call::run)
      .def("run_steps", &Call::run_steps)
      .def_readonly("done", &Call::done)
      .def("timed", &Call::timed)
      .def("memory", &Call::memory);
}
