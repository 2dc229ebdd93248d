// The largest of four vectors, those of a pooling window, read once for each instruction set.
// The includer sets the vector length W and has a type Vec and `at` for it.

typedef int32_t Whole __attribute__((vector_size(W * 4), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(W), aligned(1), may_alias));

INLINE Bytes& at(uint8_t* p) { return *reinterpret_cast<Bytes*>(p); }
INLINE const Bytes& at(const uint8_t* p) { return *reinterpret_cast<const Bytes*>(p); }

// `value(q)` gives vector q; the index, of the first of equals, is written unless it is missing.
template <class Value> INLINE void put_largest(Value value, bool relu, float* out, uint8_t* index) {
  Vec best = value(0);
  Whole where{};
  _Pragma("GCC unroll 3") for (int q = 1; q < 4; q++) {
    Vec v = value(q);
    Whole better = (v > best) | ((v != v) & (best == best));
    best = better ? v : best;
    where = better ? Whole{} + q : where;
  }
  if (relu) {
    where = best > 0.0f ? where : Whole{} + 4;               // no gradient goes anywhere
    best = best < 0.0f ? Vec{} : best;
  }
  at(out) = best;
  if (index) at(index) = __builtin_convertvector(where, Bytes);
}
