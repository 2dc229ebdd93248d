// Convolutions too thin for a product of matrices: few channels, or one channel in each group.
// Factors are stored as F.
#include "windows.cuh"

// Few channels: the kernel (taps * channels, filters) stays in shared memory; threads side by side in x
// make filters of one spot, so that they read the same pixels. The bias may be missing.
extern "C" __global__ void convolution_few_channels(Windows w, const F* x, const F* kernel, const T* bias, T* out,
                                                    int64 batch, int64 channels, int64 filters, int relu) {
  DYNAMIC_SHARED(T, weights);
  int64 taps = w.taps(), spots = w.spots(), points = w.points();
  for (int64 i = threadIdx.y * blockDim.x + threadIdx.x; i < taps * channels * filters; i += blockDim.x * blockDim.y)
    weights[i] = widen(kernel[i]);
  __syncthreads();
  for (int64 row = int64(blockIdx.x) * blockDim.y + threadIdx.y; row < batch * spots; row += int64(gridDim.x) * blockDim.y) {
    Position spot(row % spots, w.out);
    const F* image = x + row / spots * points * channels;
    for (int64 f = threadIdx.x; f < filters; f += blockDim.x) {
      T total = T(0);
      for (int64 tap = 0; tap < taps; ++tap) {
        int64 point = point_of(w, spot, Position(tap, w.window));
        if (point < 0) continue;
        for (int64 c = 0; c < channels; ++c)
          total += widen(image[point * channels + c]) * weights[(tap * channels + c) * filters + f];
      }
      if (bias) total += bias[f];
      out[row * filters + f] = relu ? larger(total, T(0)) : total;
    }
  }
}
EXPORT(convolution_few_channels)

// One channel in each group: filter f reads channel f / each. Kernels are (taps, filters).
extern "C" __global__ void depthwise(Windows w, const F* x, const F* kernel, const T* bias, T* out, int64 batch,
                                     int64 channels, int64 filters, int relu) {
  int64 each = filters / channels;
  EACH(batch * w.spots() * filters) {
    int64 f = i % filters, row = i / filters;
    Position spot(row % w.spots(), w.out);
    const F* image = x + row / w.spots() * w.points() * channels + f / each;
    T total = T(0);
    for (int64 tap = 0; tap < w.taps(); ++tap) {
      int64 point = point_of(w, spot, Position(tap, w.window));
      if (point >= 0) total += widen(image[point * channels]) * widen(kernel[tap * filters + f]);
    }
    if (bias) total += bias[f];
    out[i] = relu ? larger(total, T(0)) : total;
  }
}
EXPORT_FLAT(depthwise)

extern "C" __global__ void depthwise_data_gradient(Windows w, const F* g, const F* kernel, T* out, int64 batch,
                                                   int64 channels, int64 filters) {
  int64 each = filters / channels;
  EACH(batch * w.points() * channels) {
    int64 c = i % channels, row = i / channels, image = row / w.points() * w.spots();
    Position point(row % w.points(), w.size);
    T total = T(0);
    for (int64 tap = 0; tap < w.taps(); ++tap) {
      int64 spot = spot_of(w, point, Position(tap, w.window));
      if (spot < 0) continue;
      for (int64 f = c * each; f < (c + 1) * each; ++f)
        total += widen(g[(image + spot) * filters + f]) * widen(kernel[tap * filters + f]);
    }
    out[i] = total;
  }
}
EXPORT_FLAT(depthwise_data_gradient)

// Part blockIdx.y of all spots, `part` of them, to out (taps, parts, filters); the outer axis is the taps.
extern "C" __global__ void depthwise_kernel_gradient(Windows w, const F* x, const F* g, T* out, int64 batch,
                                                     int64 channels, int64 filters, int64 part) {
  __shared__ T parts[GROUP_THREADS];
  int64 spots = w.spots(), count = batch * spots, each = filters / channels;
  Column at(w.taps(), count, filters);
  int64 begin = blockIdx.y * part, end = begin + part < count ? begin + part : count;
  Position tap(at.inside ? at.outer : 0, w.window);
  T total = T(0);
  if (at.inside)
    for (int64 k = begin + threadIdx.y; k < end; k += blockDim.y) {
      int64 point = point_of(w, Position(k % spots, w.out), tap);
      if (point >= 0)
        total += widen(x[(k / spots * w.points() + point) * channels + at.column / each]) * widen(g[k * filters + at.column]);
    }
  total = group_reduce<Sum>(total, parts);
  if (at.inside && threadIdx.y == 0) out[(at.outer * gridDim.y + blockIdx.y) * filters + at.column] = total;
}
EXPORT(depthwise_kernel_gradient)
