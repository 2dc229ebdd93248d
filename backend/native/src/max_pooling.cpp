// Max-pooling: windows are walked position by position, all channels of one in a loop.
#include "max_pooling.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "vectorised.hpp"

namespace gradatim {
namespace {

struct Pool {
  int64_t batch, height, width, channels, out_height, out_width, rows, columns;
  int64_t stride_y, stride_x, low_y, low_x;

  Pool(const Array& image, const Array& pooled, const Window& w, const std::vector<int64_t>& size) {
    bool flat = image.shape.size() == 3;             // one spatial axis: a height of 1
    batch = image.shape[0];
    height = flat ? 1 : image.shape[1];
    width = image.shape[image.shape.size() - 2];
    channels = image.shape.back();
    out_height = flat ? 1 : pooled.shape[1];
    out_width = pooled.shape[pooled.shape.size() - 2];
    rows = flat ? 1 : size[0];
    columns = size.back();
    stride_y = flat ? 1 : w.strides[0];
    stride_x = w.strides.back();
    low_y = flat ? 0 : w.low[0];
    low_x = w.low.back();
  }
};

#define LOOPS(T)                                                                             \
  VECTORISED void take_larger(T* __restrict best, uint8_t* __restrict index, const T* x,     \
                              uint8_t position, int64_t n) {                                 \
    IVDEP for (int64_t c = 0; c < n; c++) {                                                  \
      bool better = x[c] > best[c] || (x[c] != x[c] && best[c] == best[c]);                  \
      best[c] = better ? x[c] : best[c];                                                     \
      index[c] = better ? position : index[c];                                               \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void take_above(T* __restrict best, uint8_t* __restrict index, uint8_t none,    \
                             int64_t n) {                                                    \
    IVDEP for (int64_t c = 0; c < n; c++) {                                                  \
      index[c] = best[c] > T(0) ? index[c] : none;                                           \
      best[c] = best[c] < T(0) ? T(0) : best[c];                                             \
    }                                                                                        \
  }                                                                                          \
  VECTORISED void put_where(T* __restrict d, const T* g, const uint8_t* index,               \
                            uint8_t position, bool add, int64_t n) {                         \
    if (add) {                                                                               \
      IVDEP for (int64_t c = 0; c < n; c++)                                                  \
        d[c] += index[c] == position ? g[c] : T(0);                                          \
    } else {                                                                                 \
      IVDEP for (int64_t c = 0; c < n; c++)                                                  \
        d[c] = index[c] == position ? g[c] : T(0);                                           \
    }                                                                                        \
  }                                                                                          \
  INLINE T larger(T best, T x) {                                                             \
    return x > best || x != x ? x : best;                                                    \
  }                                                                                          \
  INLINE T at_least(T lowest, T x) {                                                         \
    return x < lowest ? lowest : x;                                                          \
  }                                                                                          \
  /* One line of the pooled image when nobody asks where the largest entries were. */        \
  VECTORISED void largest_line(const Pool& p, const T* image, T* __restrict out, int64_t oy, \
                               bool relu) {                                                  \
    T lowest = relu ? T(0) : -std::numeric_limits<T>::infinity();                            \
    int64_t n = p.channels, y0 = std::max<int64_t>(0, oy * p.stride_y - p.low_y),            \
            y1 = std::min(p.height, oy * p.stride_y - p.low_y + p.rows);                     \
    for (int64_t ox = 0; ox < p.out_width; ox++, out += n) {                                 \
      int64_t x0 = std::max<int64_t>(0, ox * p.stride_x - p.low_x),                          \
              x1 = std::min(p.width, ox * p.stride_x - p.low_x + p.columns);                 \
      const T* first = image + (y0 * p.width + x0) * n;                                      \
      if (y1 - y0 == 2 && x1 - x0 == 2) {                                                    \
        const T *b = first + n, *c = first + p.width * n, *d = c + n;                        \
        IVDEP for (int64_t i = 0; i < n; i++)                                                \
          out[i] = at_least(lowest, larger(larger(larger(first[i], b[i]), c[i]), d[i]));     \
        continue;                                                                            \
      }                                                                                      \
      std::memcpy(out, first, n * sizeof(T));                                                \
      for (int64_t y = y0; y < y1; y++)                                                      \
        for (int64_t x = x0 + (y == y0); x < x1; x++) {                                      \
          const T* other = image + (y * p.width + x) * n;                                    \
          IVDEP for (int64_t i = 0; i < n; i++) out[i] = larger(out[i], other[i]);           \
        }                                                                                    \
      if (relu) {                                                                            \
        IVDEP for (int64_t i = 0; i < n; i++) out[i] = at_least(lowest, out[i]);             \
      }                                                                                      \
    }                                                                                        \
  }
LOOPS(float)
LOOPS(double)

template <class T>
void max_pool(const Pool& p, const T* x, T* out, uint8_t* indices, bool relu) {
  parallel(p.batch * p.out_height, std::max<int64_t>(1, 8192 / (p.out_width * p.channels + 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; line++) {
      int64_t b = line / p.out_height, oy = line % p.out_height;
      for (int64_t ox = 0; ox < p.out_width; ox++) {
        T* best = out + (line * p.out_width + ox) * p.channels;
        uint8_t* index = indices + (line * p.out_width + ox) * p.channels;
        bool first = true;
        for (int64_t ky = 0; ky < p.rows; ky++) {
          int64_t y = oy * p.stride_y - p.low_y + ky;
          if (y < 0 || y >= p.height) continue;
          for (int64_t kx = 0; kx < p.columns; kx++) {
            int64_t at = ox * p.stride_x - p.low_x + kx;
            if (at < 0 || at >= p.width) continue;
            const T* s = x + ((b * p.height + y) * p.width + at) * p.channels;
            uint8_t position = static_cast<uint8_t>(ky * p.columns + kx);
            if (first) {
              std::memcpy(best, s, p.channels * sizeof(T));
              std::memset(index, position, p.channels);
              first = false;
            } else {
              take_larger(best, index, s, position, p.channels);
            }
          }
        }
        if (relu) take_above(best, index, static_cast<uint8_t>(p.rows * p.columns), p.channels);
      }
    }
  });
}

template <class T>
void largest(const Pool& p, const T* x, T* out, bool relu) {
  parallel(p.batch * p.out_height, std::max<int64_t>(1, 32768 / (p.out_width * p.channels + 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; line++)
      largest_line(p, x + line / p.out_height * p.height * p.width * p.channels,
                   out + line * p.out_width * p.channels, line % p.out_height, relu);
  });
}

template <class T>
void max_pool_gradient(const Pool& p, const T* g, const uint8_t* indices, T* out) {
  bool apart = p.stride_y >= p.rows && p.stride_x >= p.columns;
  parallel(p.batch, std::max<int64_t>(1, 16384 / (p.height * p.width * p.channels + 1)),
           [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; b++) {
      T* image = out + b * p.height * p.width * p.channels;
      bool covered = apart && p.stride_y == p.rows && p.stride_x == p.columns && !p.low_y &&
                     !p.low_x && p.out_height * p.rows == p.height &&
                     p.out_width * p.columns == p.width;
      if (!covered) std::memset(image, 0, p.height * p.width * p.channels * sizeof(T));
      for (int64_t oy = 0; oy < p.out_height; oy++)
        for (int64_t ox = 0; ox < p.out_width; ox++) {
          int64_t from = ((b * p.out_height + oy) * p.out_width + ox) * p.channels;
          for (int64_t ky = 0; ky < p.rows; ky++) {
            int64_t y = oy * p.stride_y - p.low_y + ky;
            if (y < 0 || y >= p.height) continue;
            for (int64_t kx = 0; kx < p.columns; kx++) {
              int64_t at = ox * p.stride_x - p.low_x + kx;
              if (at < 0 || at >= p.width) continue;
              put_where(image + (y * p.width + at) * p.channels, g + from, indices + from,
                        static_cast<uint8_t>(ky * p.columns + kx), !apart, p.channels);
            }
          }
        }
    }
  });
}

}  // namespace

#define POINTER(T, number) reinterpret_cast<T*>(at[number])

void add_max_pool(Program& program, Array x_, Array out_, int indices, Window window,
                  std::vector<int64_t> size, bool relu) {
  Pool pool(x_, out_, window, size);
  int x = x_.value, out = out_.value;
  bool wide = program.at(x).dtype == DType::F64;
  double flops = static_cast<double>(out_.size()) * pool.rows * pool.columns;
  if (indices < 0) {
    program.step("max_pool", {x, out}, [=](char* const* at) {
      if (wide) largest(pool, POINTER(double, x), POINTER(double, out), relu);
      else largest(pool, POINTER(float, x), POINTER(float, out), relu);
    }, flops);
    return;
  }
  program.step("max_pool", {x, out, indices}, [=](char* const* at) {
    uint8_t* index = POINTER(uint8_t, indices);
    if (wide) max_pool(pool, POINTER(double, x), POINTER(double, out), index, relu);
    else max_pool(pool, POINTER(float, x), POINTER(float, out), index, relu);
  }, flops);
}

void add_max_pool_gradient(Program& program, Array g_, int indices, Array out_, Window window,
                           std::vector<int64_t> size) {
  Pool pool(out_, g_, window, size);
  int g = g_.value, out = out_.value;
  bool wide = program.at(g).dtype == DType::F64;
  double flops = static_cast<double>(out_.size());
  program.step("max_pool_gradient", {g, indices, out}, [=](char* const* at) {
    const uint8_t* index = POINTER(uint8_t, indices);
    if (wide) max_pool_gradient(pool, POINTER(double, g), index, POINTER(double, out));
    else max_pool_gradient(pool, POINTER(float, g), index, POINTER(float, out));
  }, flops);
}

}  // namespace gradatim
