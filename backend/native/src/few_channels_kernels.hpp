// The arithmetic of convolutions of few channels, read once for each instruction set.
// The includer sets the vector length W and the target, and opens a namespace.

typedef float Vec __attribute__((vector_size(W * 4), aligned(4), may_alias));

INLINE Vec& at(float* p) { return *reinterpret_cast<Vec*>(p); }
INLINE const Vec& at(const float* p) { return *reinterpret_cast<const Vec*>(p); }

#include "pooled_kernels.hpp"

// An image of few channels for F vectors of filters; SPOTS pixels are summed at once: those of a
// pooling window, or neighbours in a line.
template <int F, int SPOTS>
INLINE void outputs(const Job& job, const float* image, const float* kernel, const float* bias,
                    const int64_t* spot, bool relu, float* out, uint8_t* index) {
  constexpr bool POOLED = SPOTS == 4;
  Vec sum[SPOTS][F];
  for (int v = 0; v < F; v++) {
    Vec first = bias ? at(bias + v * W) : Vec{};
    for (int q = 0; q < SPOTS; q++) sum[q][v] = first;
  }
  for (int64_t t = 0; t < job.taps; t++) {
    const float* x = image + job.tap[t];
    for (int v = 0; v < F; v++) {
      Vec weight = at(kernel + t * job.filters + v * W);
      for (int q = 0; q < SPOTS; q++) sum[q][v] += x[spot[q]] * weight;
    }
  }
  for (int v = 0; v < F; v++) {
    if (POOLED && job.pool == 2) {
      put_largest([&](int q) { return sum[q % SPOTS][v]; }, relu, out + v * W,
                  index ? index + v * W : nullptr);
    } else {
      for (int q = 0; q < SPOTS; q++)
        at(out + q * job.filters + v * W) =
            relu ? (sum[q][v] < 0.0f ? Vec{} : sum[q][v]) : sum[q][v];
    }
  }
}

template <int F>
INLINE void forward(const Job& job, const float* image, const float* kernel, const float* bias,
                    bool relu, float* out, uint8_t* index) {
  const int64_t in = job.in, line = job.padded_width() * in;
  const int64_t window[4] = {0, in, line, line + in}, row[4] = {0, in, 2 * in, 3 * in};
  for (int64_t y = 0; y < job.height; y++)
    for (int64_t x = 0; x < job.width;) {
      const float* from = image + y * job.pool * line + x * job.pool * in;
      int64_t pixel = (y * job.width + x) * job.filters;
      uint8_t* found = index ? index + pixel : nullptr;
      if (job.pool == 2) {
        outputs<F, 4>(job, from, kernel, bias, window, relu, out + pixel, found);
        x++;
      } else if (x + 4 <= job.width) {
        outputs<F, 4>(job, from, kernel, bias, row, relu, out + pixel, nullptr);
        x += 4;
      } else {
        outputs<F, 1>(job, from, kernel, bias, row, relu, out + pixel, nullptr);
        x++;
      }
    }
}

void run_forward(const Job& job, const float* image, const float* kernel, const float* bias,
                 bool relu, float* out, uint8_t* index) {
  for (int64_t f = 0; f < job.filters;) {
    const float* b = bias ? bias + f : nullptr;
    uint8_t* i = index ? index + f : nullptr;
    if (f + 2 * W <= job.filters) {
      forward<2>(job, image, kernel + f, b, relu, out + f, i);
      f += 2 * W;
    } else {
      forward<1>(job, image, kernel + f, b, relu, out + f, i);
      f += W;
    }
  }
}

// Adds to sums (taps, filters) for TAPS taps, whose sums stay in registers.
template <int F, int TAPS>
INLINE void gradient(const Job& job, const float* image, const int64_t* tap, const float* g,
                     const uint8_t* index, float* sums, float* bias) {
  const int64_t in = job.in, line = job.padded_width() * in;
  Vec sum[TAPS][F], total[F] = {};
  for (int t = 0; t < TAPS; t++)
    for (int v = 0; v < F; v++) sum[t][v] = at(sums + t * job.filters + v * W);
  for (int64_t y = 0; y < job.height; y++) {
    const float* from = image + y * job.pool * line;
    for (int64_t x = 0; x < job.width; x++, from += job.pool * in) {
      int64_t pixel = (y * job.width + x) * job.filters;
      Vec slope[F];
      Whole where[F];
      for (int v = 0; v < F; v++) {
        slope[v] = at(g + pixel + v * W);
        if (index) {
          where[v] = __builtin_convertvector(at(index + pixel + v * W), Whole);
          slope[v] = where[v] < 4 ? slope[v] : Vec{};
        }
        total[v] += slope[v];
      }
      for (int t = 0; t < TAPS; t++) {
        const float* value = from + tap[t];
        if (index) {       // what each filter's largest had before it; nothing where it has no index
          Vec four{value[0], value[in], value[line], value[line + in]};
          for (int v = 0; v < F; v++) sum[t][v] += __builtin_shuffle(four, where[v]) * slope[v];
        } else {
          for (int v = 0; v < F; v++) sum[t][v] += *value * slope[v];
        }
      }
    }
  }
  for (int t = 0; t < TAPS; t++)
    for (int v = 0; v < F; v++) at(sums + t * job.filters + v * W) = sum[t][v];
  for (int v = 0; v < F && bias; v++) at(bias + v * W) += total[v];
}

template <int F>
INLINE void gradients(const Job& job, const float* image, const float* g, const uint8_t* index,
                      float* sums, float* bias) {
  int64_t t = 0;
  for (; t + 9 <= job.taps; t += 9)
    gradient<F, 9>(job, image, job.tap + t, g, index, sums + t * job.filters, t ? nullptr : bias);
  for (; t < job.taps; t++)
    gradient<F, 1>(job, image, job.tap + t, g, index, sums + t * job.filters, t ? nullptr : bias);
}

void run_gradient(const Job& job, const float* image, const float* g, const uint8_t* index,
                  float* sums, float* bias) {
  for (int64_t f = 0; f < job.filters;) {
    const uint8_t* i = index ? index + f : nullptr;
    float* b = bias ? bias + f : nullptr;
    if (W == 16 && f + 2 * W <= job.filters) {
      gradients<2>(job, image, g + f, i, sums + f, b);
      f += 2 * W;
    } else {
      gradients<1>(job, image, g + f, i, sums + f, b);
      f += W;
    }
  }
}
