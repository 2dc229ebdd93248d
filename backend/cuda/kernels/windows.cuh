// Windows that slide over up to three spatial axes, channels last; axes that are missing have length 1.
#pragma once
#include "common.cuh"

struct Windows {
  int64 size[3], window[3], stride[3], dilation[3], low[3], out[3];

  __device__ int64 spots() const { return out[0] * out[1] * out[2]; }
  __device__ int64 points() const { return size[0] * size[1] * size[2]; }
  __device__ int64 taps() const { return window[0] * window[1] * window[2]; }
};

// A number as a position on three axes.
struct Position {
  int64 at[3];
  __device__ Position(int64 given, const int64* size) {       // 32 bits divide several times as fast
    uint32 number = uint32(given), rest = number / uint32(size[2]);
    at[2] = number - rest * uint32(size[2]);
    at[0] = rest / uint32(size[1]);
    at[1] = rest - uint32(at[0]) * uint32(size[1]);
  }
};

// The number of the point that an element of a window reads, or -1 on padding.
__device__ __forceinline__ int64 point_of(const Windows& w, const Position& spot, const Position& tap) {
  int64 number = 0;
  for (int a = 0; a < 3; ++a) {
    int64 p = spot.at[a] * w.stride[a] - w.low[a] + tap.at[a] * w.dilation[a];
    if (p < 0 || p >= w.size[a]) return -1;
    number = number * w.size[a] + p;
  }
  return number;
}

// The number of the window whose element `tap` reads a point, or -1.
__device__ __forceinline__ int64 spot_of(const Windows& w, const Position& point, const Position& tap) {
  int64 number = 0;
  for (int a = 0; a < 3; ++a) {
    int64 p = point.at[a] + w.low[a] - tap.at[a] * w.dilation[a];
    if (p < 0 || p % w.stride[a]) return -1;
    p /= w.stride[a];
    if (p >= w.out[a]) return -1;
    number = number * w.out[a] + p;
  }
  return number;
}
