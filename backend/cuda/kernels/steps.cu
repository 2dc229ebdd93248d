// Several steps in one call: each gathers its own samples, and puts its outputs behind those of the last.
//
// The host writes `cursor` once per call: the number of the next step, where the rows of all steps (steps, batch)
// lie, the batch, and then for each feed and each output where it comes from, where it goes, and its bytes (of
// a row, or of all).
#include "common.cuh"

enum { STEP, ROWS, BATCH, HEAD };
struct Way { const uint8* from; uint8* to; int64 bytes; };
struct alignas(16) Sixteen { uint64 low, high; };

__device__ __forceinline__ Way way(const int64* cursor, int number) {
  return reinterpret_cast<const Way*>(cursor + HEAD)[number];
}

template <class W> __device__ void gather(Way feed, const int64* rows, int64 batch) {
  const W* from = reinterpret_cast<const W*>(feed.from);
  W* to = reinterpret_cast<W*>(feed.to);
  int64 words = feed.bytes / int64(sizeof(W));
  EACH(batch * words) to[i] = from[rows[i / words] * words + i % words];
}

// One feed for each y of the grid.
extern "C" __global__ void feed_step(const int64* cursor) {
  Way feed = way(cursor, blockIdx.y);
  int64 batch = cursor[BATCH];
  const int64* rows = reinterpret_cast<const int64*>(cursor[ROWS]) + cursor[STEP] * batch;
  if (feed.bytes % 16 == 0) gather<Sixteen>(feed, rows, batch);
  else if (feed.bytes % 4 == 0) gather<uint32>(feed, rows, batch);
  else gather<uint8>(feed, rows, batch);
}
EXPORT_FLAT(feed_step)

template <class W> __device__ void keep(Way out, int64 step) {
  const W* from = reinterpret_cast<const W*>(out.from);
  W* to = reinterpret_cast<W*>(out.to + step * out.bytes);
  for (int64 i = threadIdx.x; i < out.bytes / int64(sizeof(W)); i += blockDim.x) to[i] = from[i];
}

// One block, so that the step is counted when all of it has been read. `wrong` may be missing.
extern "C" __global__ void keep_step(int64* cursor, int feeds, int outputs, Complaint* wrong) {
  int64 step = cursor[STEP];
  for (int k = feeds; k < feeds + outputs; ++k) {
    Way out = way(cursor, k);
    if (out.bytes % 4 == 0) keep<uint32>(out, step); else keep<uint8>(out, step);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    cursor[STEP] = step + 1;
    if (wrong && wrong->number && !wrong->step) wrong->step = step + 1;
  }
}
EXPORT(keep_step)
