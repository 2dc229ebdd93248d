// Threads share tiles of the result: sixteen rows of one panel of columns. All terms of an entry
// are added in order by one thread, so that a row has the same bits whatever stands beside it.
#include "matmul64.hpp"

#include <algorithm>

#include "products.hpp"
#include "vectorised.hpp"

namespace gradatim {
namespace {

constexpr int64_t TILE = 16;      // rows
constexpr int64_t TERMS = 1024;   // of a sum in one go: that much of a panel stays in the cache
constexpr int64_t WORK = 1 << 17; // multiply-adds that are worth a thread
constexpr int64_t FLAT = 4;       // rows of a result that are no block

// sum += a x for n neighbours, and for those of four rows at a time.
VECTORISED void add_row(double* __restrict sum, const double* x, double a, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += a * x[i];
}
VECTORISED void add_rows(double* __restrict sum, const double* x, int64_t row, const double* a,
                         int64_t step, int64_t n) {
  const double *x1 = x + row, *x2 = x1 + row, *x3 = x2 + row;
  double a0 = a[0], a1 = a[step], a2 = a[2 * step], a3 = a[3 * step];
  IVDEP for (int64_t i = 0; i < n; i++)
    sum[i] += a0 * x[i] + a1 * x1[i] + a2 * x2[i] + a3 * x3[i];
}

// A product at one run: where its matrices lie, in elements of their strides.
struct Product {
  int64_t m, n, k;
  const double* x;
  int64_t x_row, x_column;
  const double* y;                // null where every panel is packed
  int64_t y_row;
  const double *packed, *bias;    // packed: the panels, or only a last one that is not full
  double* out;
  int64_t out_row;
  bool relu;

  // Rows [begin, end) of one panel.
  void run(int64_t first, int64_t begin, int64_t end) const {
    int64_t wide = panel_columns<double>(), width = std::min(wide, n - first);
    bool lies = y && width == wide;
    const double* panel = lies ? y + first : packed + (y ? 0 : first * k);
    int64_t panel_row = lies ? y_row : panel_width<double>(width);
    const double *from[TILE], *add[TILE];
    double* to[TILE];
    for (; begin < end; begin += TILE) {
      int64_t rows = std::min(TILE, end - begin);
      for (int64_t p = 0; p < k; p += TERMS) {
        int64_t terms = std::min(TERMS, k - p);
        for (int64_t i = 0; i < rows; i++) {
          from[i] = x + (begin + i) * x_row + p * x_column;
          to[i] = out + (begin + i) * out_row;
          add[i] = p ? to[i] : bias;
        }
        multiply_panel<double>(rows, terms, from, x_column, panel + p * panel_row, panel_row,
                               p || bias ? add : nullptr, to, first, width,
                               relu && p + terms == k);
      }
    }
  }

  // Columns [begin, end) of a result of few rows that are sums of many terms: the second matrix is
  // read once, row by row.
  void run_flat(int64_t begin, int64_t end) const {
    for (int64_t i = 0; i < m; i++) std::fill_n(out + i * out_row + begin, end - begin, 0.0);
    for (int64_t p = 0; p < k; p += 4)
      for (int64_t i = 0; i < m; i++) {
        double* sum = out + i * out_row + begin;
        const double *a = x + i * x_row + p * x_column, *row = y + p * y_row + begin;
        if (p + 4 <= k) add_rows(sum, row, y_row, a, x_column, end - begin);
        else
          for (int64_t j = 0; j < k - p; j++)
            add_row(sum, row + j * y_row, a[j * x_column], end - begin);
      }
  }
};

// Offsets of each matrix of a batch; axes of length 1 are there again and again.
std::vector<int64_t> offsets(const Matrix& matrix, const std::vector<int64_t>& shape) {
  std::vector<int64_t> found{matrix.offset};
  for (size_t axis = 0; axis + 2 < shape.size(); axis++) {
    std::vector<int64_t> longer;
    for (int64_t offset : found)
      for (int64_t i = 0; i < shape[axis]; i++)
        longer.push_back(offset + (matrix.shape[axis] == 1 ? 0 : i * matrix.strides[axis]));
    found = std::move(longer);
  }
  return found;
}

}  // namespace

void add_matmul64(Program& program, Matrix x, Matrix y, Matrix out, int bias,
                  const std::string& activation) {
  size_t last = out.shape.size() - 1;
  int64_t m = out.shape[last - 1], n = out.shape[last], k = x.shape[last];
  int64_t y_row = y.strides[last - 1], y_column = y.strides[last];
  int64_t wide = panel_columns<double>(), panels = (n + wide - 1) / wide;
  bool lies = y_column == 1;
  // Rows that are samples always come in blocks, so that their bits depend on nothing else.
  bool flat = lies && m <= FLAT && x.strides[last] != 1 && k > TILE && bias < 0 &&
              activation.empty();
  int memory = program.value({lies ? k * wide : Packed<double>::size(k, n)}, "float64",
                             Home::Arena);
  auto xs = offsets(x, out.shape), ys = offsets(y, out.shape), outs = offsets(out, out.shape);
  Product shared{m, n, k, nullptr, x.strides[last - 1], x.strides[last], nullptr, y_row, nullptr,
                 nullptr, nullptr, out.strides[last - 1], activation == "relu"};
  std::vector<int> uses{x.value, y.value, out.value, memory};
  if (bias >= 0) uses.push_back(bias);
  auto one = [=](const double* from, const double* with, double* to, double* packed,
                 const double* added) {
    auto pack = [&](int64_t panel, double* place) {
      int64_t first = panel * wide;
      pack_panel<double>(place, with, k, first, std::min(wide, n - first), y_row, y_column);
    };
    Product product = shared;
    product.x = from;
    product.y = lies ? with : nullptr;
    product.packed = packed;
    product.bias = added;
    product.out = to;
    if (flat)
      return parallel(n, std::max<int64_t>(64, WORK / (k * m)), [&](int64_t begin, int64_t end) {
        product.run_flat(begin, end);
      });
    if (lies) {
      if (n % wide) pack(n / wide, packed);
    } else {
      parallel(panels, std::max<int64_t>(1, 32768 / (k * wide)), [&](int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; panel++) pack(panel, packed + panel * wide * k);
      });
    }
    int64_t tiles = (m + TILE - 1) / TILE;
    parallel(panels * tiles, std::max<int64_t>(1, WORK / (k * TILE * wide)),
             [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin / tiles; panel * tiles < end; panel++)
        product.run(panel * wide, std::max<int64_t>(begin - panel * tiles, 0) * TILE,
                    std::min(m, (end - panel * tiles) * TILE));
    });
  };
  program.step("matmul", uses, [=](char* const* at) {
    auto pointer = [&](int value) { return reinterpret_cast<double*>(at[value]); };
    for (size_t i = 0; i < outs.size(); i++)
      one(pointer(x.value) + xs[i], pointer(y.value) + ys[i], pointer(out.value) + outs[i],
          pointer(memory), bias < 0 ? nullptr : pointer(bias));
  }, 2.0 * m * n * k * outs.size());
}

}  // namespace gradatim
