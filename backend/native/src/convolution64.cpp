// Windows are copied to the rows of a small matrix that stays in the cache, and multiplied there
// ("im2col"); the data gradient adds the rows of such a product to the image. A sample's bits do
// not depend on the batch, and sums over samples are made in chunks that depend on shapes alone.
#include "convolution64.hpp"

#include <cstring>
#include <vector>

#include "depthwise64.hpp"
#include "products.hpp"
#include "sliding.hpp"

namespace gradatim {
namespace {

constexpr double WORK = 1 << 19;  // operations that are worth a thread

VECTORISED void add_run(double* __restrict sum, const double* x, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

double* pointer(char* const* at, int value) { return reinterpret_cast<double*>(at[value]); }

// How many spots, of how many operations each, a thread takes at least.
int64_t grain_of(int64_t operations) {
  return std::max<int64_t>(1, static_cast<int64_t>(WORK) / std::max<int64_t>(operations, 1));
}

// Rows of numbers in this thread's cache, with their addresses.
struct Rows {
  std::vector<double> memory;
  std::vector<double*> row;

  Rows(int64_t rows, int64_t width) : memory(rows * width) {
    for (int64_t i = 0; i < rows; i++) row.push_back(memory.data() + i * width);
  }
  const double* const* data() const { return row.data(); }
};

// Spots multiplied together: whole register blocks whose windows stay in the cache.
int64_t block_of(const Sliding& s) {
  return std::clamp<int64_t>(8192 / s.terms() / 8 * 8, 8, 64);
}

// body(first, last) for blocks of the spots [begin, end).
template <class Body>
void blocks(const Sliding& s, int64_t begin, int64_t end, const Body& body) {
  int64_t block = block_of(s);
  for (; begin < end; begin += block) body(begin, std::min(begin + block, end));
}

// One group's windows of the spots [begin, end) as rows.
void read_windows(const Sliding& s, const double* x, int64_t group, int64_t begin, int64_t end,
                  double* to) {
  int64_t depth = s.depth(), terms = s.terms();
  const double* from = x + group * depth;
  for (int64_t spot = begin; spot < end; spot++, to += terms) {
    int64_t done = 0;             // elements of the window; between them lie zeros
    s.window(spot, [&](int64_t element, int64_t pixel, int64_t count) {
      if (element > done) std::fill_n(to + done * depth, (element - done) * depth, 0.0);
      done = element + count;
      if (s.channels == 1) {      // a call would take longer than the copy
        for (int64_t i = 0; i < count; i++) to[element + i] = from[pixel + i];
        return;
      }
      int64_t runs = s.groups == 1 ? 1 : count, length = s.groups == 1 ? count * depth : depth;
      for (int64_t i = 0; i < runs; i++)
        std::memcpy(to + (element + i) * depth, from + (pixel + i) * s.channels,
                    length * sizeof(double));
    });
    std::fill(to + done * depth, to + terms, 0.0);
  }
}

// And the other way: rows added to where their windows lie.
void add_windows(const Sliding& s, double* x, int64_t group, int64_t begin, int64_t end,
                 const double* rows) {
  int64_t depth = s.depth(), terms = s.terms();
  double* to = x + group * depth;
  for (int64_t spot = begin; spot < end; spot++, rows += terms)
    s.window(spot, [&](int64_t element, int64_t pixel, int64_t count) {
      int64_t runs = s.groups == 1 ? 1 : count, length = s.groups == 1 ? count * depth : depth;
      for (int64_t i = 0; i < runs; i++)
        add_run(to + (pixel + i) * s.channels, rows + (element + i) * depth, length);
    });
}

// The kernel's matrices (terms, each) of all groups, or their transposes, packed.
std::vector<Packed<double>> packed(const Sliding& s, const double* kernel, double* memory,
                                   bool turned) {
  std::vector<Packed<double>> matrices(s.groups);
  int64_t k = turned ? s.each() : s.terms(), n = turned ? s.terms() : s.each();
  int64_t row = turned ? 1 : s.filters, column = turned ? s.filters : 1;
  for (auto& matrix : matrices) {
    matrix.pack(memory, kernel, k, n, row, column);
    memory += Packed<double>::size(k, n);
    kernel += s.each();
  }
  return matrices;
}

void forward(const Sliding& s, const double* x, const std::vector<Packed<double>>& kernel,
             const double* bias, double* out, bool relu) {
  int64_t block = block_of(s), grain = grain_of(2 * s.filters * s.terms());
  parallel(s.batch * s.spots(), (grain + block - 1) / block * block,
           [&](int64_t begin, int64_t end) {
    Rows windows(block, s.terms());
    std::vector<const double*> add(block);
    std::vector<double*> to(block);
    blocks(s, begin, end, [&](int64_t first, int64_t last) {
      for (int64_t group = 0; group < s.groups; group++) {
        read_windows(s, x, group, first, last, windows.memory.data());
        for (int64_t i = 0; i < last - first; i++) {
          to[i] = out + (first + i) * s.filters + group * s.each();
          add[i] = bias + (bias ? group * s.each() : 0);
        }
        kernel[group].multiply(last - first, windows.data(), bias ? add.data() : nullptr,
                               to.data(), 1, relu);
      }
    });
  });
}

void data_gradient(const Sliding& s, const double* g, const std::vector<Packed<double>>& kernel,
                   double* out) {
  int64_t block = block_of(s), image = s.pixels() * s.channels;
  parallel(s.batch, grain_of(2 * s.spots() * s.filters * s.terms()),
           [&](int64_t begin, int64_t end) {
    Rows windows(block, s.terms());
    std::vector<const double*> from(block);
    std::fill_n(out + begin * image, (end - begin) * image, 0.0);
    blocks(s, begin * s.spots(), end * s.spots(), [&](int64_t first, int64_t last) {
      for (int64_t group = 0; group < s.groups; group++) {
        for (int64_t i = 0; i < last - first; i++)
          from[i] = g + (first + i) * s.filters + group * s.each();
        kernel[group].multiply(last - first, from.data(), nullptr, windows.row.data());
        add_windows(s, out, group, first, last, windows.memory.data());
      }
    });
  });
}

// out (terms, filters) += windows^T g for the spots [begin, end).
void add_kernel_gradient(const Sliding& s, const double* x, const double* g, int64_t begin,
                         int64_t end, double* out) {
  int64_t block = block_of(s), terms = s.terms(), each = s.each();
  int64_t wide = panel_columns<double>(), full = each / wide * wide;
  Rows windows(block, terms);
  std::vector<double> rest(block * wide);
  std::vector<const double*> column(terms);
  std::vector<double*> to(terms);
  for (int64_t t = 0; t < terms; t++) column[t] = windows.memory.data() + t;
  blocks(s, begin, end, [&](int64_t first, int64_t last) {
    for (int64_t group = 0; group < s.groups; group++) {
      int64_t k = last - first;
      const double* from = g + first * s.filters + group * each;
      read_windows(s, x, group, first, last, windows.memory.data());
      for (int64_t t = 0; t < terms; t++) to[t] = out + t * s.filters + group * each;
      for (int64_t at = 0; at < full; at += wide)
        multiply_panel<double>(terms, k, column.data(), terms, from + at, s.filters, to.data(),
                               to.data(), at, wide, false);
      if (full == each) continue;
      pack_panel<double>(rest.data(), from, k, full, each - full, s.filters, 1);
      multiply_panel<double>(terms, k, column.data(), terms, rest.data(),
                             panel_width<double>(each - full), to.data(), to.data(), full,
                             each - full, false);
    }
  });
}

// Into how many sums, added up at the end, the kernel gradient is parted: a power of two.
int64_t chunks_of(const Sliding& s) {
  int64_t chunks = 1;
  while (chunks < 32 && s.flops() >= 2 * WORK * chunks && s.batch * s.spots() >= 128 * chunks)
    chunks *= 2;
  return chunks;
}

}  // namespace

void add_convolution64(Program& program, Array x, Array kernel, Array out, int bias, Window window,
                       int64_t groups, const std::string& activation) {
  Sliding s(x, kernel, out, window, groups);
  bool relu = activation == "relu";
  if (s.depth() == 1 && groups > 1)
    return add_depthwise64(program, s, x.value, kernel.value, out.value, bias, relu);
  int memory = program.value({groups * Packed<double>::size(s.terms(), s.each())}, "float64",
                             Home::Arena);
  std::vector<int> uses{x.value, kernel.value, out.value, memory};
  if (bias >= 0) uses.push_back(bias);
  program.step("convolution", uses, [=](char* const* at) {
    forward(s, pointer(at, x.value),
            packed(s, pointer(at, kernel.value), pointer(at, memory), false),
            bias < 0 ? nullptr : pointer(at, bias), pointer(at, out.value), relu);
  }, s.flops());
}

void add_convolution64_data_gradient(Program& program, Array g, Array kernel, Array out,
                                     Window window, int64_t groups) {
  Sliding s(out, kernel, g, window, groups);
  if (s.depth() == 1 && groups > 1)
    return add_depthwise64_data_gradient(program, s, g.value, kernel.value, out.value);
  int memory = program.value({groups * Packed<double>::size(s.each(), s.terms())}, "float64",
                             Home::Arena);
  program.step("convolution_data_gradient", {g.value, kernel.value, out.value, memory},
               [=](char* const* at) {
    data_gradient(s, pointer(at, g.value),
                  packed(s, pointer(at, kernel.value), pointer(at, memory), true),
                  pointer(at, out.value));
  }, s.flops());
}

void add_convolution64_kernel_gradient(Program& program, Array x, Array g, Array out,
                                       Window window, int64_t groups) {
  Sliding s(x, out, g, window, groups);
  if (s.depth() == 1 && groups > 1)
    return add_depthwise64_kernel_gradient(program, s, x.value, g.value, out.value);
  int64_t chunks = chunks_of(s), size = out.size(), spots = s.batch * s.spots();
  int64_t length = (spots + chunks - 1) / chunks;
  int sums = program.value({(chunks - 1) * size}, "float64", Home::Arena);
  program.step("convolution_kernel_gradient", {x.value, g.value, out.value, sums},
               [=](char* const* at) {
    double *total = pointer(at, out.value), *others = pointer(at, sums);
    parallel(chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; chunk++) {
        double* sum = chunk ? others + (chunk - 1) * size : total;
        std::fill_n(sum, size, 0.0);
        add_kernel_gradient(s, pointer(at, x.value), pointer(at, g.value), chunk * length,
                            std::min(spots, (chunk + 1) * length), sum);
      }
    });
    for (int64_t chunk = 1; chunk < chunks; chunk++)
      add_run(total, others + (chunk - 1) * size, size);
  }, s.flops());
}

}  // namespace gradatim
