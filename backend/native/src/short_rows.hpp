// Rows of few numbers, sixteen at a time: each row has a lane of its own.
#pragma once
#include <cstdint>

namespace gradatim::short_rows {

constexpr int64_t LONGEST = 32;   // numbers in a row; longer ones fill lanes by themselves

// As in rows.hpp, for rows begin to end. A row's bits do not depend on the rows beside it.
void cross_entropy(const float* x, const int64_t* labels, float* loss, int64_t begin, int64_t end,
                   int64_t n, float smooth);
void cross_entropy_gradient(const float* g, const float* x, const int64_t* labels, float* out,
                            int64_t begin, int64_t end, int64_t n, float smooth);
void argmax(const float* x, int64_t* out, int64_t begin, int64_t end, int64_t n);

}  // namespace gradatim::short_rows
