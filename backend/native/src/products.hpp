// Products of blocks of rows with one matrix whose panels of columns stay in the cache.
#pragma once
#include <cstdint>
#include <functional>

namespace gradatim {

// How many columns a full panel has.
template <class T> int64_t panel_columns();

// `rows` rows of k numbers, x[i][p * step], times columns [first, first + width) of a matrix; its
// panel's row p begins at panel + p * panel_row and is as wide as `panel_width` says.
// out[i][first ...] = add[i][first ...] + product, then the larger of that and 0 with `relu`; add
// may be null, and out may be add. A row's result does not depend on the others: its terms are
// added in the order of k.
template <class T>
void multiply_panel(int64_t rows, int64_t k, const T* const* x, int64_t step, const T* panel,
                    int64_t panel_row, const T* const* add, T* const* out, int64_t first,
                    int64_t width, bool relu);

// How many columns a panel of so many is padded to.
template <class T> int64_t panel_width(int64_t columns);

// Called after every panel of a product, by (part, parts): what it asks of the memory is done while
// the next panel is multiplied.
using Meanwhile = std::function<void(int64_t, int64_t)>;

// A matrix (k, n) cut into panels of columns that lie as the processor's registers read them.
template <class T> class Packed {
 public:
  // How many numbers the memory for one must hold.
  static int64_t size(int64_t k, int64_t n);
  // Element (i, j) of the matrix is at from[i * row + j * column].
  void pack(T* memory, const T* from, int64_t k, int64_t n, int64_t row, int64_t column);
  // out[i] = add[i] + x[i] @ matrix for each row; add may be null.
  void multiply(int64_t rows, const T* const* x, const T* const* add, T* const* out,
                int64_t step = 1, bool relu = false,
                const Meanwhile& meanwhile = nullptr) const;

 private:
  T* memory_ = nullptr;
  int64_t k_ = 0, n_ = 0;
};

// Columns [first, first + width) of a matrix as one panel, padded with zeros.
template <class T>
void pack_panel(T* panel, const T* from, int64_t k, int64_t first, int64_t width, int64_t row,
                int64_t column);

}  // namespace gradatim
