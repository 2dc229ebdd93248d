// Squares of numbers turned in registers, with instructions that every x86-64 processor has.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "vectorised.hpp"

namespace gradatim {

// Four rows of four numbers, turned.
template <class T> INLINE void transpose(const T* from, int64_t row, T* to, int64_t to_row) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  using Mask = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
  typedef Mask Places __attribute__((vector_size(4 * sizeof(T))));
  Four a, b, c, d;
  std::memcpy(&a, from, sizeof(a));
  std::memcpy(&b, from + row, sizeof(b));
  std::memcpy(&c, from + 2 * row, sizeof(c));
  std::memcpy(&d, from + 3 * row, sizeof(d));
  constexpr Places LOW{0, 4, 1, 5}, HIGH{2, 6, 3, 7}, FIRST{0, 1, 4, 5}, SECOND{2, 3, 6, 7};
  Four low = __builtin_shuffle(a, b, LOW), high = __builtin_shuffle(a, b, HIGH);
  Four low2 = __builtin_shuffle(c, d, LOW), high2 = __builtin_shuffle(c, d, HIGH);
  a = __builtin_shuffle(low, low2, FIRST);
  b = __builtin_shuffle(low, low2, SECOND);
  c = __builtin_shuffle(high, high2, FIRST);
  d = __builtin_shuffle(high, high2, SECOND);
  std::memcpy(to, &a, sizeof(a));
  std::memcpy(to + to_row, &b, sizeof(b));
  std::memcpy(to + 2 * to_row, &c, sizeof(c));
  std::memcpy(to + 3 * to_row, &d, sizeof(d));
}

}  // namespace gradatim
