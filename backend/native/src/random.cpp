// Philox4x32-10 on sixteen counters at once, and the distributions made of its words.
// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011, section 3.3.
#include "random.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "vector_math.hpp"

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")

namespace gradatim {
namespace {

constexpr int64_t GROUP = 16;               // counters at once
constexpr int64_t PIECE = 1024;             // words made in one go: they stay in the first cache

struct Key {
  uint32_t low, high, step, stream;
};

// Words of `groups` groups of blocks from block number `first` on, four words for each block.
VECTORISED void philox(const Key& key, uint64_t first, int64_t groups, uint32_t* __restrict words) {
  for (int64_t group = 0; group < groups; group++) {
    uint32_t c0[GROUP], c1[GROUP], c2[GROUP], c3[GROUP];
    for (int64_t i = 0; i < GROUP; i++) {
      uint64_t number = first + group * GROUP + i;
      c0[i] = static_cast<uint32_t>(number);
      c1[i] = static_cast<uint32_t>(number >> 32);
      c2[i] = key.step;
      c3[i] = key.stream;
    }
    uint32_t k0 = key.low, k1 = key.high;
    for (int round = 0; round < 10; round++) {
      for (int64_t i = 0; i < GROUP; i++) {
        uint64_t p = static_cast<uint64_t>(c0[i]) * 0xD2511F53u;
        uint64_t q = static_cast<uint64_t>(c2[i]) * 0xCD9E8D57u;
        uint32_t n0 = static_cast<uint32_t>(q >> 32) ^ c1[i] ^ k0;
        uint32_t n2 = static_cast<uint32_t>(p >> 32) ^ c3[i] ^ k1;
        c1[i] = static_cast<uint32_t>(q);
        c3[i] = static_cast<uint32_t>(p);
        c0[i] = n0;
        c2[i] = n2;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    uint32_t* w = words + group * GROUP * 4;
    for (int64_t i = 0; i < GROUP; i++) {
      w[4 * i] = c0[i];
      w[4 * i + 1] = c1[i];
      w[4 * i + 2] = c2[i];
      w[4 * i + 3] = c3[i];
    }
  }
}

// ---- distributions -----------------------------------------------------------------------------

template <class T> inline T unit(uint32_t word);
template <> inline float unit<float>(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}
template <> inline double unit<double>(uint32_t word) { return word * 0x1p-32; }

// A product is rounded before it is added, as in the reference: hence the second loop.
#define DISTRIBUTIONS(T, suffix)                                                             \
  VECTORISED void uniform_##suffix(const uint32_t* w, T* __restrict out, int64_t n, T low,   \
                                   T width, T high) {                                        \
    IVDEP for (int64_t i = 0; i < n; i++) out[i] = unit<T>(w[i]) * width;                    \
    if (low == T(0) && high == T(1)) return;                                                 \
    IVDEP for (int64_t i = 0; i < n; i++) {                                                  \
      T spread = out[i] + low;                                                               \
      out[i] = spread < high ? spread : low;                                                 \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void mask_##suffix(const uint32_t* w, T* __restrict out, int64_t n,             \
                                uint32_t least, T scale) {                                   \
    IVDEP for (int64_t i = 0; i < n; i++) out[i] = w[i] >= least ? scale : T(0);             \
  }
DISTRIBUTIONS(float, f)
DISTRIBUTIONS(double, d)

// Box and Muller, 1958: two normal numbers of each pair of words.
VECTORISED void normal_f(const uint32_t* w, float* __restrict out, int64_t n) {
  IVDEP for (int64_t i = 0; i < n / 2; i++) {
    float u = static_cast<float>(w[2 * i]), v = static_cast<float>(w[2 * i + 1]);
    float radius = std::sqrt(-2.0f * math::log((u + 1.0f) * 0x1p-32f));
    float angle = v * static_cast<float>(2.0 * M_PI * 0x1p-32), sine, cosine;
    math::sincos(angle, sine, cosine);
    out[2 * i] = radius * cosine;
    out[2 * i + 1] = radius * sine;
  }
}

void normal_d(const uint32_t* w, double* out, int64_t n) {
  for (int64_t i = 0; i < n / 2; i++) {
    double radius = std::sqrt(-2.0 * std::log((w[2 * i] + 1.0) * 0x1p-32));
    double angle = w[2 * i + 1] * (2.0 * M_PI * 0x1p-32);
    out[2 * i] = radius * std::cos(angle);
    out[2 * i + 1] = radius * std::sin(angle);
  }
}

enum class Kind { Bits, Uniform, Normal, Mask };

void convert(Kind kind, const uint32_t* w, float* out, int64_t n, double a, double b) {
  if (kind == Kind::Uniform) uniform_f(w, out, n, static_cast<float>(a), static_cast<float>(b),
                                           static_cast<float>(a + b));
  else if (kind == Kind::Mask) mask_f(w, out, n, static_cast<uint32_t>(a), static_cast<float>(b));
  else normal_f(w, out, n);
}

void convert(Kind kind, const uint32_t* w, double* out, int64_t n, double a, double b) {
  if (kind == Kind::Uniform) uniform_d(w, out, n, a, b, a + b);
  else if (kind == Kind::Mask) mask_d(w, out, n, static_cast<uint32_t>(a), b);
  else normal_d(w, out, n);
}

void convert(Kind, const uint32_t* w, uint32_t* out, int64_t n, double, double) {
  std::memcpy(out, w, n * 4);
}

template <class T>
void fill(Kind kind, const Key& key, uint64_t first, T* out, int64_t size, double a, double b) {
  // Whole blocks are converted, because normal numbers come in pairs; then the part asked for is
  // copied. `first` is the number of the first element in the stream.
  parallel(size, 16 * PIECE, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[PIECE + 4 * GROUP];
    alignas(64) T made[PIECE + 4 * GROUP];
    for (int64_t at = begin; at < end; at += PIECE) {
      int64_t n = std::min(PIECE, end - at);
      uint64_t from = first + at;
      int64_t lead = from % 4, groups = (lead + n + 4 * GROUP - 1) / (4 * GROUP);
      philox(key, from / 4, groups, words);
      bool whole = lead == 0 && n == PIECE;
      T* to = whole ? out + at : made;
      convert(kind, words, to, whole ? n : groups * 4 * GROUP, a, b);
      if (!whole) std::memcpy(out + at, made + lead, n * sizeof(T));
      if constexpr (!std::is_integral_v<T>) {
        if (kind == Kind::Normal && (a != 0 || b != 1))
          for (int64_t i = at; i < at + n; i++)
            out[i] = out[i] * static_cast<T>(b) + static_cast<T>(a);
      }
    }
  });
}

}  // namespace

void add_random(Program& program, const std::string& name, int seed, int step, int offset, int out,
                int64_t size, int64_t row, uint32_t stream, double a, double b) {
  Kind kind = name == "bits" ? Kind::Bits : name == "uniform" ? Kind::Uniform
            : name == "normal" ? Kind::Normal : Kind::Mask;
  DType dtype = program.at(out).dtype;
  program.step(name == "mask" ? "dropout_mask" : "random_" + name, {seed, step, offset, out},
               [=](char* const* at) {
    auto number = [&](int value) { return *reinterpret_cast<const uint64_t*>(at[value]); };
    uint64_t s = number(seed), first = number(offset) * static_cast<uint64_t>(row);
    Key key{static_cast<uint32_t>(s), static_cast<uint32_t>(s >> 32),
            static_cast<uint32_t>(number(step)), stream};
    if (dtype == DType::F32) fill(kind, key, first, reinterpret_cast<float*>(at[out]), size, a, b);
    else if (dtype == DType::F64)
      fill(kind, key, first, reinterpret_cast<double*>(at[out]), size, a, b);
    else fill(kind, key, first, reinterpret_cast<uint32_t*>(at[out]), size, a, b);
  }, static_cast<double>(size) * 20);
}

}  // namespace gradatim
