// exp, log, tanh and their kin, written so that loops over them vectorise: in single precision, and
// exp, expm1, tanh and log in double.
// NaN stays NaN, infinities and signed zeros come out as the C library's; errors stay below 2 ulp,
// those of tanh and sigmoid, and all in double, below 3.
// Polynomials: Moshier, Cephes Mathematical Library (expf, logf, tanhf, sinf); own reductions.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace gradatim::math {

inline float bits_to_float(int32_t b) { float f; std::memcpy(&f, &b, 4); return f; }
inline int32_t float_to_bits(float f) { int32_t b; std::memcpy(&b, &f, 4); return b; }
inline float power_of_two(int32_t n) {     // any n: that of NaN has no meaning and does no harm
  return bits_to_float(static_cast<int32_t>(static_cast<uint32_t>(n + 127) << 23));
}

// n and r with x = n ln 2 + r, |r| <= ln(2)/2; x within +-104.
inline float reduce(float x, float& n) {
  n = std::nearbyint(x * 1.44269504088896341f);
  float r = x - n * 0.693359375f;
  return r + n * 2.12194440e-4f;
}

// (exp(r) - 1 - r) / r^2
inline float exp_tail(float r) {
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  return p * r + 5.0000001201e-1f;
}

inline float exp(float x) {
  float c = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x, n;
  float r = reduce(c, n);
  float y = exp_tail(r) * r * r + r + 1.0f;
  int32_t k = static_cast<int32_t>(n), half = k >> 1;
  return y * power_of_two(half) * power_of_two(k - half);
}

// Where the result is neither 0, nor denormal, nor infinite: fewer steps.
inline float exp_within(float x) {
  float n, r = reduce(x, n);
  return (exp_tail(r) * r * r + r + 1.0f) * power_of_two(static_cast<int32_t>(n));
}
inline float expm1_within(float x) {
  float n, r = reduce(x, n);
  float scale = power_of_two(static_cast<int32_t>(n));
  return scale * (exp_tail(r) * r * r + r) + (scale - 1.0f);
}

inline float expm1(float x) {
  float y = expm1_within(x < -40.0f ? -40.0f : x > 88.5f ? 88.5f : x);
  y = x > 88.5f ? exp(x) : y;
  return x == 0.0f ? x : y;
}

inline float log(float x) {
  bool tiny = x < std::numeric_limits<float>::min();
  float scaled = tiny ? x * 8388608.0f : x;
  int32_t b = float_to_bits(scaled);
  int32_t e = (b >> 23) - 126 - (tiny ? 23 : 0);
  float m = bits_to_float((b & 0x007fffff) | 0x3f000000);        // [0.5, 1)
  bool low = m < 0.707106781186547524f;
  float f = low ? m + m - 1.0f : m - 1.0f;
  float n = static_cast<float>(low ? e - 1 : e);
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float z = f * f, y = p * f * z;
  y = y + n * -2.12194440e-4f;
  y = y - 0.5f * z;
  float result = f + y + n * 0.693359375f;
  result = x == std::numeric_limits<float>::infinity() ? x : result;
  result = x < 0.0f ? std::numeric_limits<float>::quiet_NaN() : result;
  result = x == 0.0f ? -std::numeric_limits<float>::infinity() : result;
  return x != x ? x : result;
}

inline float log1p(float x) {
  float u = 1.0f + x, d = u - 1.0f;
  float y = log(u) * (x / (d == 0.0f ? 1.0f : d));
  y = d == 0.0f ? x : y;
  y = x == std::numeric_limits<float>::infinity() ? x : y;
  return x == -1.0f ? -std::numeric_limits<float>::infinity() : y;
}

// The size of x, or `most` where that is less. Read as whole numbers, sizes have the same order, and
// processors compare whole numbers with fewer steps; NaN is larger than all.
inline float size_within(float x, float most) {
  return bits_to_float(std::min(float_to_bits(x) & 0x7fffffff, float_to_bits(most)));
}

inline float tanh(float x) {
  float t = expm1_within(2.0f * size_within(x, 22.0f));
  return x != x ? x : std::copysign(t / (t + 2.0f), x);
}

inline float sigmoid(float x) {
  float y = 1.0f / (1.0f + exp_within(std::copysign(size_within(x, 88.0f), -x)));
  return x != x ? x : y;
}

// Sine and cosine of an angle up to some thousands: the quarter turn, then polynomials on +-pi/4.
inline void sincos(float x, float& sine, float& cosine) {
  float n = std::nearbyint(x * 0.636619772367581343f);
  float r = x - n * 1.5703125f;
  r = r - n * 4.837512969970703125e-4f;
  r = r - n * 7.54978995489188216e-8f;
  float z = r * r;
  float s = -1.9515295891e-4f;
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * r + r;
  float c = 2.443315711809948e-5f;
  c = c * z - 1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = c * z * z - 0.5f * z + 1.0f;
  int32_t quarter = static_cast<int32_t>(n);
  float a = quarter & 1 ? c : s, b = quarter & 1 ? s : c;
  sine = quarter & 2 ? -a : a;
  cosine = (quarter + 1) & 2 ? -b : b;
}

// ---- double precision --------------------------------------------------------------------------

inline double bits_to_double(int64_t b) { double f; std::memcpy(&f, &b, 8); return f; }
inline int64_t double_to_bits(double f) { int64_t b; std::memcpy(&b, &f, 8); return b; }

// A whole number up to 2^51 in the low bits of its sum with this: no instruction to convert it is
// needed, which AVX2 has not.
constexpr double WHOLE = 6755399441055744.0;
inline double power_of_two(double n) {
  uint64_t low = static_cast<uint64_t>(double_to_bits(n + (WHOLE + 1023.0)));
  return bits_to_double(static_cast<int64_t>(low << 52));     // the bits of WHOLE fall out
}

// n and r with x = n ln 2 + r, |r| <= ln(2)/2; n has 11 bits, so that its first product is exact.
inline double reduce(double x, double& n) {
  n = x * 1.4426950408889634 + WHOLE - WHOLE;
  double r = x - n * 6.93147180369123816490e-01;
  return r - n * 1.90821492927058770002e-10;
}

// (exp(r) - 1 - r) / r^2 by Taylor's series, whose next term is below 2^-57.
inline double exp_tail(double r) {
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  return p * r + 0.5;
}

inline double exp(double x) {
  double c = x < -746.0 ? -746.0 : x > 710.0 ? 710.0 : x, n;
  double r = reduce(c, n);
  double y = exp_tail(r) * r * r + r + 1.0;
  double half = n * 0.5 + WHOLE - WHOLE;
  return y * power_of_two(half) * power_of_two(n - half);
}

inline double expm1(double x) {
  double c = x < -40.0 ? -40.0 : x > 709.0 ? 709.0 : x, n;
  double r = reduce(c, n);
  double scale = power_of_two(n);
  double y = scale * (exp_tail(r) * r * r + r) + (scale - 1.0);
  y = x > 709.0 ? exp(x) : y;
  return x == 0.0 ? x : y;
}

inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

inline double tanh(double x) {
  double a = x < 0.0 ? -x : x;
  double t = expm1(a > 22.0 ? 44.0 : 2.0 * a);
  double y = t / (t + 2.0);
  y = x < 0.0 ? -y : y;
  return x == 0.0 || x != x ? x : y;
}

// log(m) = f - f^2/2 + s (f^2/2 + R(s^2)) with s = f / (2 + f): the series of atanh's tail.
inline double log(double x) {
  bool tiny = x < std::numeric_limits<double>::min();
  double scaled = tiny ? x * 18014398509481984.0 : x;                       // 2^54
  int64_t b = double_to_bits(scaled);
  double e = bits_to_double((b >> 52 & 0x7ff) | 0x4338000000000000) - WHOLE - (tiny ? 1076.0 : 1022.0);
  double m = bits_to_double((b & 0x000fffffffffffff) | 0x3fe0000000000000);     // [0.5, 1)
  bool low = m < 0.70710678118654752440;
  double f = low ? m + m - 1.0 : m - 1.0, n = low ? e - 1.0 : e;
  double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  double p = 2.0 / 21.0;
  p = p * z + 2.0 / 19.0;
  p = p * z + 2.0 / 17.0;
  p = p * z + 2.0 / 15.0;
  p = p * z + 2.0 / 13.0;
  p = p * z + 2.0 / 11.0;
  p = p * z + 2.0 / 9.0;
  p = p * z + 2.0 / 7.0;
  p = p * z + 2.0 / 5.0;
  p = p * z + 2.0 / 3.0;
  double y = s * (half + p * z) + n * 1.90821492927058770002e-10;
  double result = n * 6.93147180369123816490e-01 + (f - (half - y));
  result = x == std::numeric_limits<double>::infinity() ? x : result;
  result = x < 0.0 ? std::numeric_limits<double>::quiet_NaN() : result;
  result = x == 0.0 ? -std::numeric_limits<double>::infinity() : result;
  return x != x ? x : result;
}

}  // namespace gradatim::math
