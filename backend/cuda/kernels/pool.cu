// Pooling and its gradients, channels last; N are the numbers of a window's elements, one byte each.
#include "windows.cuh"

// The largest of each window and, unless `indices` is missing, the number of the first of them. With
// `relu` at least zero, and a window with nothing above zero has the number behind its last one.
extern "C" __global__ void max_pool(Windows w, const T* x, T* out, N* indices, int64 batch, int64 channels,
                                    int relu) {
  EACH(batch * w.spots() * channels) {
    int64 c = i % channels, row = i / channels;
    Position spot(row % w.spots(), w.out);
    const T* image = x + row / w.spots() * w.points() * channels + c;
    T best = T(0);
    int64 where = -1;
    for (int64 tap = 0; tap < w.taps(); ++tap) {
      int64 point = point_of(w, spot, Position(tap, w.window));
      if (point < 0) continue;
      T value = image[point * channels];
      if (where < 0 || value > best || (value != value && best == best)) {
        best = value;
        where = tap;
      }
    }
    out[i] = relu && best < T(0) ? T(0) : best;
    if (indices) indices[i] = N(relu && !(best > T(0)) ? w.taps() : where);
  }
}
EXPORT_FLAT(max_pool)

// Each point adds up, window by window, what those give that were largest there.
extern "C" __global__ void max_pool_gradient(Windows w, const T* g, const N* indices, T* out, int64 batch,
                                             int64 channels) {
  EACH(batch * w.points() * channels) {
    int64 c = i % channels, row = i / channels, image = row / w.points() * w.spots();
    Position point(row % w.points(), w.size);
    T total = T(0);
    for (int64 tap = 0; tap < w.taps(); ++tap) {
      int64 spot = spot_of(w, point, Position(tap, w.window));
      if (spot < 0) continue;
      int64 place = (image + spot) * channels + c;
      if (int64(indices[place]) == tap) total += g[place];
    }
    out[i] = total;
  }
}
EXPORT_FLAT(max_pool_gradient)

// What the windows hold at the given numbers; zero on padding, and where there is no such number.
extern "C" __global__ void max_pool_select(Windows w, const T* x, const N* indices, T* out, int64 batch,
                                           int64 channels) {
  EACH(batch * w.spots() * channels) {
    int64 c = i % channels, row = i / channels;
    int64 tap = int64(indices[i]);
    int64 point = tap < w.taps() ? point_of(w, Position(row % w.spots(), w.out), Position(tap, w.window)) : -1;
    out[i] = point < 0 ? T(0) : x[(row / w.spots() * w.points() + point) * channels + c];
  }
}
EXPORT_FLAT(max_pool_select)

// One over the number of a window's elements that are not padding.
__device__ T share_of(const Windows& w, const Position& spot) {
  int64 count = 0;
  for (int64 tap = 0; tap < w.taps(); ++tap) count += point_of(w, spot, Position(tap, w.window)) >= 0;
  return T(1) / T(count);
}

extern "C" __global__ void average_pool(Windows w, const T* x, T* out, int64 batch, int64 channels) {
  EACH(batch * w.spots() * channels) {
    int64 c = i % channels, row = i / channels, count = 0;
    Position spot(row % w.spots(), w.out);
    const T* image = x + row / w.spots() * w.points() * channels + c;
    T total = T(0);
    for (int64 tap = 0; tap < w.taps(); ++tap) {
      int64 point = point_of(w, spot, Position(tap, w.window));
      if (point < 0) continue;
      total += image[point * channels];
      ++count;
    }
    out[i] = total / T(count);
  }
}
EXPORT_FLAT(average_pool)

extern "C" __global__ void average_pool_gradient(Windows w, const T* g, T* out, int64 batch, int64 channels) {
  EACH(batch * w.points() * channels) {
    int64 c = i % channels, row = i / channels, image = row / w.points() * w.spots();
    Position point(row % w.points(), w.size);
    T total = T(0);
    for (int64 tap = 0; tap < w.taps(); ++tap) {
      int64 spot = spot_of(w, point, Position(tap, w.window));
      if (spot >= 0) total += g[(image + spot) * channels + c] * share_of(w, Position(spot, w.out));
    }
    out[i] = total;
  }
}
EXPORT_FLAT(average_pool_gradient)
