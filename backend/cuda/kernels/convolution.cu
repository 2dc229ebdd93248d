// Convolution and its gradients as products of matrices that are never written ("implicit GEMM"):
// a block makes 64 x 64 results from tiles in shared memory, each thread 4 x 4 of them in registers.
// Inputs (batch, *size, channels), kernels (*window, depth, filters), depth = channels / groups. Factors
// are stored as F.
#include "windows.cuh"

const int TILE = 64, DEEP = 16, EACH_WAY = 4;            // blocks are 16 x 16 threads

struct Shape {
  int64 batch, channels, filters, groups;
  __device__ int64 depth() const { return channels / groups; }
  __device__ int64 each() const { return filters / groups; }
};

// C[m, n] = sum over k from `begin` to `end` of a(m, k) b(k, n); rows come with what they share.
template <class A, class B, class Write>
__device__ void product(const A& a, const B& b, const Write& write, int64 rows, int64 columns, int64 begin,
                        int64 end) {
  __shared__ T left[DEEP][TILE + 4], right[DEEP][TILE + 4];
  int thread = threadIdx.y * 16 + threadIdx.x;
  int64 first_row = int64(blockIdx.x) * TILE, first_column = int64(blockIdx.y) * TILE;
  T sums[EACH_WAY][EACH_WAY];
  for (int r = 0; r < EACH_WAY; ++r)
    for (int c = 0; c < EACH_WAY; ++c) sums[r][c] = T(0);
  for (int64 k0 = begin; k0 < end; k0 += DEEP) {
    for (int j = 0; j < TILE * DEEP / 256; ++j) {        // neighbouring threads read what lies together
      int number = thread + 256 * j;
      int ka = A::ALONG ? number % DEEP : number / TILE, m = A::ALONG ? number / DEEP : number % TILE;
      int kb = B::ALONG ? number % DEEP : number / TILE, n = B::ALONG ? number / DEEP : number % TILE;
      left[ka][m] = k0 + ka < end && first_row + m < rows ? a(first_row + m, k0 + ka) : T(0);
      right[kb][n] = k0 + kb < end && first_column + n < columns ? b(k0 + kb, first_column + n) : T(0);
    }
    __syncthreads();
    for (int k = 0; k < DEEP; ++k) {
      T x[EACH_WAY], y[EACH_WAY];
      for (int r = 0; r < EACH_WAY; ++r) x[r] = left[k][threadIdx.y + 16 * r];
      for (int c = 0; c < EACH_WAY; ++c) y[c] = right[k][threadIdx.x + 16 * c];
      for (int r = 0; r < EACH_WAY; ++r)
        for (int c = 0; c < EACH_WAY; ++c) sums[r][c] += x[r] * y[c];
    }
    __syncthreads();
  }
  for (int r = 0; r < EACH_WAY; ++r)
    for (int c = 0; c < EACH_WAY; ++c) {
      int64 m = first_row + threadIdx.y + 16 * r, n = first_column + threadIdx.x + 16 * c;
      if (m < rows && n < columns) write(m, n, sums[r][c]);
    }
}

// The windows as rows: spot m, element k of its window (tap by tap, channels inside).
struct Columns {
  static const bool ALONG = true;
  const Windows& w;
  const Shape& s;
  const F* x;
  int64 group;
  __device__ T operator()(int64 m, int64 k) const {
    int64 spots = w.spots(), depth = s.depth();
    int64 point = point_of(w, Position(m % spots, w.out), Position(k / depth, w.window));
    return point < 0 ? T(0) : widen(x[(m / spots * w.points() + point) * s.channels + group * depth + k % depth]);
  }
};

struct Filters {
  static const bool ALONG = false;
  const Shape& s;
  const F* kernel;
  int64 group;
  __device__ T operator()(int64 k, int64 n) const { return widen(kernel[k * s.filters + group * s.each() + n]); }
};

struct Spots {
  const Shape& s;
  const T* bias;
  T* out;
  int64 group;
  int relu;
  __device__ void operator()(int64 m, int64 n, T value) const {
    n += group * s.each();
    if (bias) value += bias[n];
    out[m * s.filters + n] = relu ? larger(value, T(0)) : value;
  }
};

// The bias (filters) may be missing.
extern "C" __global__ void convolution(Windows w, Shape s, const F* x, const F* kernel, const T* bias, T* out, int relu) {
  int64 group = blockIdx.z;
  product(Columns{w, s, x, group}, Filters{s, kernel, group}, Spots{s, bias, out, group, relu},
          s.batch * w.spots(), s.each(), 0, w.taps() * s.depth());
}
EXPORT(convolution)

// Rows are points; k goes through filters inside taps.
struct Covering {
  static const bool ALONG = true;
  const Windows& w;
  const Shape& s;
  const F* g;
  int64 group;
  __device__ T operator()(int64 m, int64 k) const {
    int64 points = w.points(), each = s.each();
    int64 spot = spot_of(w, Position(m % points, w.size), Position(k / each, w.window));
    return spot < 0 ? T(0) : widen(g[(m / points * w.spots() + spot) * s.filters + group * each + k % each]);
  }
};

struct Turned {
  static const bool ALONG = true;
  const Shape& s;
  const F* kernel;
  int64 group;
  __device__ T operator()(int64 k, int64 n) const {
    return widen(kernel[(k / s.each() * s.depth() + n) * s.filters + group * s.each() + k % s.each()]);
  }
};

struct Points {
  const Shape& s;
  T* out;
  int64 group;
  __device__ void operator()(int64 m, int64 n, T value) const { out[m * s.channels + group * s.depth() + n] = value; }
};

extern "C" __global__ void convolution_data_gradient(Windows w, Shape s, const F* g, const F* kernel, T* out) {
  int64 group = blockIdx.z;
  product(Covering{w, s, g, group}, Turned{s, kernel, group}, Points{s, out, group}, s.batch * w.points(),
          s.depth(), 0, w.taps() * s.each());
}
EXPORT(convolution_data_gradient)

// Rows are the elements of a window, k goes through spots.
struct Elements {
  static const bool ALONG = false;
  Columns columns;
  __device__ T operator()(int64 m, int64 k) const { return columns(k, m); }
};

struct Slopes {
  static const bool ALONG = false;
  const Shape& s;
  const F* g;
  int64 group;
  __device__ T operator()(int64 k, int64 n) const { return widen(g[k * s.filters + group * s.each() + n]); }
};

// Part p of the spots, `each` of them, to out (parts, *window, depth, filters); z counts groups in parts.
extern "C" __global__ void convolution_kernel_gradient(Windows w, Shape s, const F* x, const F* g, T* out,
                                                       int64 each) {
  int64 group = blockIdx.z % s.groups, part = blockIdx.z / s.groups, spots = s.batch * w.spots();
  int64 begin = part * each, end = begin + each < spots ? begin + each : spots, rows = w.taps() * s.depth();
  product(Elements{Columns{w, s, x, group}}, Slopes{s, g, group},
          Spots{s, nullptr, out + part * rows * s.filters, group, 0}, rows, s.each(), begin, end);
}
EXPORT(convolution_kernel_gradient)
