// Rows of few numbers, sixteen at a time: each row has a lane of its own.
#pragma once
#include <cstdint>

namespace gradatim::short_rows {

constexpr int64_t LONGEST = 80;   // numbers in a row; longer ones fill lanes by themselves

// As in rows.hpp, for rows begin to end. A row's bits do not depend on the rows beside it.
template <class T>
void cross_entropy(const T* x, const int64_t* labels, T* loss, int64_t begin, int64_t end,
                   int64_t n, T smooth);
template <class T>
void cross_entropy_gradient(const T* g, const T* x, const int64_t* labels, T* out,
                            int64_t begin, int64_t end, int64_t n, T smooth);
template <class T>
void argmax(const T* x, int64_t* out, int64_t begin, int64_t end, int64_t n);

}  // namespace gradatim::short_rows
