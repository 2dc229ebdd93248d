// The instruction set of elementwise chains.
#include "loops.hpp"

#include <cmath>
#include <cstring>

#include "vector_math.hpp"

// One loop each, built for the newest instructions and picked when the library is loaded.
#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))

namespace gradatim {
namespace {

#define LOOP(name, R, T, expression)                                                         \
  VECTORISED void name(void* d_, const void* a_, const void* b_, const void* c_, int n) {    \
    R* d = static_cast<R*>(d_);   /* may be one of the sources */                            \
    const T* a = static_cast<const T*>(a_);                                                  \
    const T* b = static_cast<const T*>(b_);                                                  \
    const T* c = static_cast<const T*>(c_);                                                  \
    (void)a; (void)b; (void)c;                                                               \
    _Pragma("GCC ivdep") for (int i = 0; i < n; i++) d[i] = expression;                      \
  }

#define ARITHMETIC(T, suffix)                                                                \
  LOOP(add_##suffix, T, T, a[i] + b[i])                                                      \
  LOOP(sub_##suffix, T, T, a[i] - b[i])                                                      \
  LOOP(mul_##suffix, T, T, a[i] * b[i])                                                      \
  LOOP(neg_##suffix, T, T, -a[i])                                                            \
  LOOP(lt_##suffix, uint8_t, T, a[i] < b[i])                                                 \
  LOOP(le_##suffix, uint8_t, T, a[i] <= b[i])                                                \
  LOOP(gt_##suffix, uint8_t, T, a[i] > b[i])                                                 \
  LOOP(ge_##suffix, uint8_t, T, a[i] >= b[i])                                                \
  LOOP(eq_##suffix, uint8_t, T, a[i] == b[i])                                                \
  LOOP(ne_##suffix, uint8_t, T, a[i] != b[i])                                                \
  VECTORISED void select_##suffix(void* d_, const void* a_, const void* b_, const void* c_,  \
                                  int n) {                                                   \
    T* d = static_cast<T*>(d_);                                                              \
    const uint8_t* a = static_cast<const uint8_t*>(a_);                                      \
    const T* b = static_cast<const T*>(b_);                                                  \
    const T* c = static_cast<const T*>(c_);                                                  \
    _Pragma("GCC ivdep") for (int i = 0; i < n; i++) d[i] = a[i] ? b[i] : c[i];              \
  }

#define FLOATING(T, suffix)                                                                  \
  LOOP(div_##suffix, T, T, a[i] / b[i])                                                      \
  LOOP(abs_##suffix, T, T, std::fabs(a[i]))                                                  \
  LOOP(sqrt_##suffix, T, T, std::sqrt(a[i]))                                                 \
  LOOP(floor_##suffix, T, T, std::floor(a[i]))                                               \
  LOOP(ceil_##suffix, T, T, std::ceil(a[i]))                                                 \
  LOOP(rint_##suffix, T, T, std::nearbyint(a[i]))                                            \
  LOOP(sin_##suffix, T, T, std::sin(a[i]))                                                   \
  LOOP(cos_##suffix, T, T, std::cos(a[i]))                                                   \
  LOOP(tan_##suffix, T, T, std::tan(a[i]))                                                   \
  LOOP(asin_##suffix, T, T, std::asin(a[i]))                                                 \
  LOOP(acos_##suffix, T, T, std::acos(a[i]))                                                 \
  LOOP(atan_##suffix, T, T, std::atan(a[i]))                                                 \
  LOOP(sinh_##suffix, T, T, std::sinh(a[i]))                                                 \
  LOOP(cosh_##suffix, T, T, std::cosh(a[i]))                                                 \
  LOOP(asinh_##suffix, T, T, std::asinh(a[i]))                                               \
  LOOP(acosh_##suffix, T, T, std::acosh(a[i]))                                               \
  LOOP(atanh_##suffix, T, T, std::atanh(a[i]))                                               \
  LOOP(erf_##suffix, T, T, std::erf(a[i]))                                                   \
  LOOP(pow_##suffix, T, T, std::pow(a[i], b[i]))                                             \
  LOOP(fmod_##suffix, T, T, std::fmod(a[i], b[i]))                                           \
  LOOP(lerp_##suffix, T, T, a[i] + (b[i] - a[i]) * c[i])                                     \
  LOOP(sqrt_add_##suffix, T, T, std::sqrt(a[i]) + b[i])                                      \
  LOOP(sub_div_##suffix, T, T, a[i] - b[i] / c[i])                                           \
  LOOP(gate_##suffix, T, T, a[i] > 0 ? b[i] : 0)

ARITHMETIC(float, float32)
ARITHMETIC(double, float64)
ARITHMETIC(int32_t, int32)
ARITHMETIC(int64_t, int64)
FLOATING(float, float32)
FLOATING(double, float64)
LOOP(abs_int32, int32_t, int32_t, a[i] < 0 ? -a[i] : a[i])
LOOP(abs_int64, int64_t, int64_t, a[i] < 0 ? -a[i] : a[i])
LOOP(exp_float32, float, float, math::exp(a[i]))
LOOP(expm1_float32, float, float, math::expm1(a[i]))
LOOP(log_float32, float, float, math::log(a[i]))
LOOP(log1p_float32, float, float, math::log1p(a[i]))
LOOP(tanh_float32, float, float, math::tanh(a[i]))
LOOP(exp_float64, double, double, math::exp(a[i]))
LOOP(expm1_float64, double, double, math::expm1(a[i]))
LOOP(log_float64, double, double, math::log(a[i]))
LOOP(log1p_float64, double, double, std::log1p(a[i]))
LOOP(tanh_float64, double, double, math::tanh(a[i]))
LOOP(not_bool, uint8_t, uint8_t, !a[i])
LOOP(and_bool, uint8_t, uint8_t, a[i] && b[i])
LOOP(or_bool, uint8_t, uint8_t, a[i] || b[i])
LOOP(eq_bool, uint8_t, uint8_t, a[i] == b[i])
LOOP(ne_bool, uint8_t, uint8_t, a[i] != b[i])
LOOP(select_bool, uint8_t, uint8_t, a[i] ? b[i] : c[i])

#define CASTS(T, suffix)                                                                     \
  LOOP(cast_##suffix##_float32, float, T, static_cast<float>(a[i]))                          \
  LOOP(cast_##suffix##_float64, double, T, static_cast<double>(a[i]))                        \
  LOOP(cast_##suffix##_int32, int32_t, T, static_cast<int32_t>(a[i]))                        \
  LOOP(cast_##suffix##_int64, int64_t, T, static_cast<int64_t>(a[i]))                        \
  LOOP(cast_##suffix##_uint8, uint8_t, T, static_cast<uint8_t>(a[i]))                        \
  LOOP(cast_##suffix##_bool, uint8_t, T, a[i] != T(0))

CASTS(float, float32)
CASTS(double, float64)
CASTS(int32_t, int32)
CASTS(int64_t, int64)
CASTS(uint8_t, uint8)
CASTS(uint8_t, bool)

// The upper half of the nearest float32 with eight significant bits, halves to even; NaN stays one.
inline uint32_t nearest_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  return x != x ? bits | 0x400000 : rounded;
}

inline float whole_bfloat16(float x) {
  uint32_t bits = nearest_bfloat16(x) & 0xffff0000;
  float result;
  std::memcpy(&result, &bits, 4);
  return x != x ? x : result;
}

// The nearest float32 with eleven significant bits, as a float16 has them; below 2^-14 fewer.
inline float whole_float16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000;
  float normal, size = std::fabs(x);
  std::memcpy(&normal, &bits, 4);
  float small = size + 0.5f - 0.5f;                       // what is left are multiples of 2^-24
  float large = std::fabs(normal) > 65504 ? std::numeric_limits<float>::infinity() : std::fabs(normal);
  return x != x ? x : std::copysign(size < 6.103515625e-5f ? small : large, x);
}

LOOP(bfloat16_float32, float, float, whole_bfloat16(a[i]))
LOOP(float16_float32, float, float, whole_float16(a[i]))
LOOP(cast_float32_bfloat16, uint16_t, float, static_cast<uint16_t>(nearest_bfloat16(a[i]) >> 16))

#define ROW(op, suffix) {#op "_" #suffix, op##_##suffix}
#define ARITHMETIC_ROWS(s)                                                                   \
  ROW(add, s), ROW(sub, s), ROW(mul, s), ROW(neg, s), ROW(abs, s), ROW(lt, s), ROW(le, s),   \
      ROW(gt, s), ROW(ge, s), ROW(eq, s), ROW(ne, s), ROW(select, s)
#define FLOATING_ROWS(s)                                                                     \
  ROW(div, s), ROW(sqrt, s), ROW(floor, s), ROW(ceil, s), ROW(rint, s), ROW(sin, s),         \
      ROW(cos, s), ROW(tan, s), ROW(asin, s), ROW(acos, s), ROW(atan, s), ROW(sinh, s),      \
      ROW(cosh, s), ROW(asinh, s), ROW(acosh, s), ROW(atanh, s), ROW(erf, s), ROW(pow, s),   \
      ROW(fmod, s), ROW(exp, s), ROW(expm1, s), ROW(log, s), ROW(log1p, s), ROW(tanh, s),    \
      ROW(lerp, s), ROW(sqrt_add, s), ROW(sub_div, s), ROW(gate, s)
#define CAST_ROWS(s)                                                                         \
  ROW(cast_##s, float32), ROW(cast_##s, float64), ROW(cast_##s, int32), ROW(cast_##s, int64), \
      ROW(cast_##s, uint8), ROW(cast_##s, bool)

}  // namespace

const std::map<std::string, Loop>& loops() {
  static const std::map<std::string, Loop> table = {
      ARITHMETIC_ROWS(float32), ARITHMETIC_ROWS(float64), ARITHMETIC_ROWS(int32),
      ARITHMETIC_ROWS(int64), FLOATING_ROWS(float32), FLOATING_ROWS(float64), ROW(not, bool),
      ROW(and, bool), ROW(or, bool), ROW(eq, bool), ROW(ne, bool), ROW(select, bool),
      CAST_ROWS(float32), CAST_ROWS(float64), CAST_ROWS(int32), CAST_ROWS(int64),
      CAST_ROWS(uint8), CAST_ROWS(bool), ROW(bfloat16, float32), ROW(float16, float32),
      ROW(cast_float32, bfloat16)};
  return table;
}

}  // namespace gradatim
