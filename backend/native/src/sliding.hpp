// Where the windows of a convolution lie, channels last; axes that are not there have a size of 1.
#pragma once
#include <algorithm>

#include "primitives.hpp"
#include "vectorised.hpp"

namespace gradatim {

struct Sliding {
  struct Axis {
    int64_t size, out, window, stride, dilation, low;
  };
  int64_t batch, channels, filters, groups;
  Axis z, y, x;

  Sliding(const Array& image, const Array& kernel, const Array& out, const Window& w,
          int64_t groups)
      : batch(image.shape[0]), channels(image.shape.back()), filters(out.shape.back()),
        groups(groups) {
    size_t rank = kernel.shape.size() - 2;
    auto axis = [&](size_t i) {
      return Axis{image.shape[i + 1], out.shape[i + 1], kernel.shape[i], w.strides[i],
                  w.dilation[i], w.low[i]};
    };
    Axis none{1, 1, 1, 1, 1, 0};
    z = rank < 3 ? none : axis(rank - 3);
    y = rank < 2 ? none : axis(rank - 2);
    x = axis(rank - 1);
  }

  int64_t depth() const { return channels / groups; }        // input channels of a group
  int64_t each() const { return filters / groups; }          // output channels of a group
  int64_t elements() const { return z.window * y.window * x.window; }
  int64_t terms() const { return elements() * depth(); }
  int64_t spots() const { return z.out * y.out * x.out; }
  int64_t pixels() const { return z.size * y.size * x.size; }
  double flops() const { return 2.0 * batch * spots() * filters * terms(); }

  // visit(element of the window, pixel, count) for the neighbours of both that lie in the image;
  // spots and pixels of all images are numbered one after another.
  template <class Visit> INLINE void window(int64_t spot, const Visit& visit) const {
    int64_t start = spot / spots() * pixels();
    spot %= spots();
    int64_t front = spot / (y.out * x.out) * z.stride - z.low;
    spot %= y.out * x.out;
    int64_t top = spot / x.out * y.stride - y.low, left = spot % x.out * x.stride - x.low;
    for (int64_t kz = 0; kz < z.window; kz++) {
      int64_t plane = front + kz * z.dilation;
      if (plane < 0 || plane >= z.size) continue;
      for (int64_t ky = 0; ky < y.window; ky++) {
        int64_t line = top + ky * y.dilation;
        if (line < 0 || line >= y.size) continue;
        int64_t element = (kz * y.window + ky) * x.window;
        int64_t pixel = start + (plane * y.size + line) * x.size;
        if (x.dilation == 1) {
          int64_t from = std::max<int64_t>(0, -left), to = std::min(x.window, x.size - left);
          if (from < to) visit(element + from, pixel + left + from, to - from);
          continue;
        }
        for (int64_t kx = 0; kx < x.window; kx++) {
          int64_t column = left + kx * x.dilation;
          if (column >= 0 && column < x.size) visit(element + kx, pixel + column, int64_t(1));
        }
      }
    }
  }
};

}  // namespace gradatim
