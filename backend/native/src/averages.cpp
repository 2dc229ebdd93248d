// Average pooling: every output reads its window, every input's cotangent gathers its windows'.
#include "averages.hpp"

#include <algorithm>
#include <cstring>

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")

namespace gradatim {
namespace {

VECTORISED void add_scaled(float* __restrict sum, const float* x, float w, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += w * x[i];
}
VECTORISED void add_scaled(double* __restrict sum, const double* x, double w, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += w * x[i];
}

// Windows along one axis; elements of window o on the axis are [first(o), last(o)).
struct Axis {
  int64_t size, out, window, stride, low;
  int64_t first(int64_t o) const { return std::max<int64_t>(0, o * stride - low); }
  int64_t last(int64_t o) const { return std::min(size, o * stride - low + window); }
};

struct Windows {
  int64_t batch, channels;
  Axis y, x;

  Windows(const Array& image, const Array& pooled, const Window& w,
          const std::vector<int64_t>& size) {
    size_t rank = size.size();
    batch = image.shape[0];
    channels = image.shape.back();
    auto axis = [&](size_t i) {
      return Axis{image.shape[i + 1], pooled.shape[i + 1], size[i], w.strides[i], w.low[i]};
    };
    y = rank == 1 ? Axis{1, 1, 1, 1, 0} : axis(0);
    x = axis(rank - 1);
  }

  // visit(position in the image, position in the pooled image, share) for one sample.
  template <class Visit> void each(int64_t oy, const Visit& visit) const {
    for (int64_t ox = 0; ox < x.out; ox++) {
      int64_t y0 = y.first(oy), y1 = y.last(oy), x0 = x.first(ox), x1 = x.last(ox);
      double share = 1.0 / ((y1 - y0) * (x1 - x0));
      for (int64_t i = y0; i < y1; i++)
        for (int64_t j = x0; j < x1; j++)
          visit((i * x.size + j) * channels, (oy * x.out + ox) * channels, share);
    }
  }
};

template <class T> void pool(const Windows& w, const T* x, T* out) {
  int64_t line = w.x.out * w.channels, image = w.y.size * w.x.size * w.channels;
  parallel(w.batch * w.y.out, std::max<int64_t>(1, 8192 / (line + 1)),
           [&](int64_t begin, int64_t end) {
    std::memset(out + begin * line, 0, (end - begin) * line * sizeof(T));
    for (int64_t i = begin; i < end; i++) {
      int64_t b = i / w.y.out;
      w.each(i % w.y.out, [&](int64_t from, int64_t to, double share) {
        add_scaled(out + b * w.y.out * line + to, x + b * image + from, static_cast<T>(share),
                   w.channels);
      });
    }
  });
}

template <class T> void spread(const Windows& w, const T* g, T* out) {
  int64_t pooled = w.y.out * w.x.out * w.channels, image = w.y.size * w.x.size * w.channels;
  parallel(w.batch, std::max<int64_t>(1, 16384 / (image + 1)), [&](int64_t begin, int64_t end) {
    std::memset(out + begin * image, 0, (end - begin) * image * sizeof(T));
    for (int64_t b = begin; b < end; b++)
      for (int64_t oy = 0; oy < w.y.out; oy++)
        w.each(oy, [&](int64_t to, int64_t from, double share) {
          add_scaled(out + b * image + to, g + b * pooled + from, static_cast<T>(share),
                     w.channels);
        });
  });
}

template <class T> T* pointer(char* const* at, int value) {
  return reinterpret_cast<T*>(at[value]);
}

}  // namespace

void add_average_pool(Program& program, Array x_, Array out_, Window window,
                      std::vector<int64_t> size) {
  Windows w(x_, out_, window, size);
  int x = x_.value, out = out_.value;
  bool wide = program.at(x).dtype == DType::F64;
  program.step("average_pool", {x, out}, [=](char* const* at) {
    if (wide) pool(w, pointer<double>(at, x), pointer<double>(at, out));
    else pool(w, pointer<float>(at, x), pointer<float>(at, out));
  }, static_cast<double>(out_.size()) * w.y.window * w.x.window);
}

void add_average_pool_gradient(Program& program, Array g_, Array out_, Window window,
                               std::vector<int64_t> size) {
  Windows w(out_, g_, window, size);
  int g = g_.value, out = out_.value;
  bool wide = program.at(g).dtype == DType::F64;
  program.step("average_pool_gradient", {g, out}, [=](char* const* at) {
    if (wide) spread(w, pointer<double>(at, g), pointer<double>(at, out));
    else spread(w, pointer<float>(at, g), pointer<float>(at, out));
  }, static_cast<double>(g_.size()) * w.y.window * w.x.window);
}

}  // namespace gradatim
