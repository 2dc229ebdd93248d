// Copies with strides, and reads and writes at positions that are known only at run time.
#include "moving.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "vectorised.hpp"

namespace gradatim {
namespace {

// ---- copies ------------------------------------------------------------------------------------

struct Axis {
  int64_t size, from, to;          // strides in elements
};

// Axes of length 1 left out, and neighbours joined that lie without a gap on both sides.
std::vector<Axis> joined(const std::vector<int64_t>& shape, const Operand& from,
                         const Operand& to) {
  std::vector<Axis> axes;
  for (size_t i = 0; i < shape.size(); i++) {
    if (shape[i] == 1) continue;
    Axis next{shape[i], from.strides[i], to.strides[i]};
    if (!axes.empty() && axes.back().from == next.from * next.size &&
        axes.back().to == next.to * next.size)
      axes.back() = {axes.back().size * next.size, next.from, next.to};
    else
      axes.push_back(next);
  }
  if (axes.empty()) axes.push_back({1, 1, 1});
  return axes;
}

template <class T> void copy_run(T* to, const T* from, const Axis& axis) {
  if (axis.from == 1 && axis.to == 1) std::memcpy(to, from, axis.size * sizeof(T));
  else
    for (int64_t i = 0; i < axis.size; i++) to[i * axis.to] = from[i * axis.from];
}

template <class T> void move(const std::vector<Axis>& axes, const T* from, T* to) {
  int64_t runs = 1;
  for (size_t i = 0; i + 1 < axes.size(); i++) runs *= axes[i].size;
  parallel(runs, std::max<int64_t>(1, 16384 / axes.back().size), [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; run++) {
      int64_t source = 0, target = 0, rest = run;
      for (size_t i = axes.size() - 1; i-- > 0;) {
        int64_t index = rest % axes[i].size;
        rest /= axes[i].size;
        source += index * axes[i].from;
        target += index * axes[i].to;
      }
      copy_run(to + target, from + source, axes.back());
    }
  });
}

// Calls body(T()) with a type as wide as the dtype.
template <class Body> void by_width(DType dtype, const Body& body) {
  switch (size_of(dtype)) {
    case 1: return body(uint8_t());
    case 4: return body(uint32_t());
    default: return body(uint64_t());
  }
}

template <class Body> void by_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::F32: return body(float());
    case DType::F64: return body(double());
    case DType::I64: return body(int64_t());
    case DType::I32: case DType::U32: return body(int32_t());
    default: return body(uint8_t());
  }
}

template <class T> T* pointer(char* const* at, int value) {
  return reinterpret_cast<T*>(at[value]);
}

VECTORISED void add_run(float* __restrict sum, const float* x, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}
VECTORISED void add_run(double* __restrict sum, const double* x, int64_t n) {
  IVDEP for (int64_t i = 0; i < n; i++) sum[i] += x[i];
}

int64_t checked(int64_t index, int64_t n) {
  if (index < -n || index >= n)
    throw std::out_of_range("index " + std::to_string(index) + " is out of range for an axis of " +
                            std::to_string(n));
  return index < 0 ? index + n : index;
}

}  // namespace

void add_move(Program& program, const std::string& name, std::vector<int64_t> shape, Operand from,
              Operand to) {
  auto axes = joined(shape, from, to);
  DType dtype = program.at(from.value).dtype;
  int source = from.value, target = to.value;
  int64_t skip = from.offset, start = to.offset;
  program.step(name, {source, target}, [=](char* const* at) {
    by_width(dtype, [&](auto like) {
      using T = decltype(like);
      move(axes, pointer<T>(at, source) + skip, pointer<T>(at, target) + start);
    });
  });
}

void add_copy(Program& program, int from, int to) {
  size_t bytes = program.at(from).bytes;
  program.step("copy", {from, to}, [=](char* const* at) {
    if (at[from] != at[to]) std::memcpy(at[to], at[from], bytes);
  }, 0);
}

void add_fill(Program& program, int out, double number) {
  DType dtype = program.at(out).dtype;
  int64_t size = program.at(out).size;
  program.step("fill", {out}, [=](char* const* at) {
    by_type(dtype, [&](auto like) {
      using T = decltype(like);
      std::fill_n(pointer<T>(at, out), size, static_cast<T>(number));
    });
  });
}

void add_cumsum(Program& program, int x, int out, int64_t outer, int64_t n, int64_t inner,
                bool reverse) {
  DType dtype = program.at(x).dtype;
  program.step("cumsum", {x, out}, [=](char* const* at) {
    by_type(dtype, [&](auto like) {
      using T = decltype(like);
      parallel(outer, std::max<int64_t>(1, 16384 / (n * inner)), [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; o++)
          for (int64_t i = 0; i < n; i++) {
            int64_t now = o * n + (reverse ? n - 1 - i : i), before = now + (reverse ? 1 : -1);
            const T* from = pointer<T>(at, x) + now * inner;
            T *to = pointer<T>(at, out) + now * inner, *sum = pointer<T>(at, out) + before * inner;
            for (int64_t j = 0; j < inner; j++) to[j] = i ? sum[j] + from[j] : from[j];
          }
      });
    });
  }, static_cast<double>(outer) * n * inner);
}

void add_gather(Program& program, int x, int indices, int out, int64_t n, int64_t m,
                int64_t width) {
  size_t bytes = width * size_of(program.at(x).dtype);
  program.step("gather", {x, indices, out}, [=](char* const* at) {
    const int64_t* rows = pointer<int64_t>(at, indices);
    for (int64_t i = 0; i < n; i++)
      if (rows[i] < -m || rows[i] >= m)
        throw std::out_of_range("index " + std::to_string(rows[i]) + " is out of range for " +
                                std::to_string(m) + " rows");
    parallel(n, std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1)),
             [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++)
        std::memcpy(at[out] + i * bytes, at[x] + (rows[i] < 0 ? rows[i] + m : rows[i]) * bytes,
                    bytes);
    });
  }, 0);
}

void add_scatter_add(Program& program, int indices, int values, int out, int64_t n, int64_t m,
                     int64_t width) {
  DType dtype = program.at(out).dtype;
  size_t bytes = program.at(out).bytes;
  program.step("scatter_add", {indices, values, out}, [=](char* const* at) {
    const int64_t* rows = pointer<int64_t>(at, indices);
    std::memset(at[out], 0, bytes);
    auto add = [&](auto like) {
      using T = decltype(like);
      // Threads share columns, not rows: every row is added up in the order given.
      parallel(width, std::max<int64_t>(16, 65536 / std::max<int64_t>(n, 1)),
               [&](int64_t begin, int64_t end) {
        for (int64_t i = 0; i < n; i++) {
          int64_t row = rows[i] < 0 ? rows[i] + m : rows[i];
          if (row < 0 || row >= m) continue;
          add_run(pointer<T>(at, out) + row * width + begin,
                  pointer<T>(at, values) + i * width + begin, end - begin);
        }
      });
    };
    if (dtype == DType::F64) add(double());
    else add(float());
  }, static_cast<double>(n) * width);
}

void add_take_along(Program& program, int x, int indices, int out, int64_t outer, int64_t n,
                    int64_t m, int64_t inner) {
  DType dtype = program.at(x).dtype;
  program.step("take_along", {x, indices, out}, [=](char* const* at) {
    const int64_t* index = pointer<int64_t>(at, indices);
    by_width(dtype, [&](auto like) {
      using T = decltype(like);
      for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < m; i++)
          for (int64_t j = 0; j < inner; j++) {
            int64_t place = (o * m + i) * inner + j;
            pointer<T>(at, out)[place] =
                pointer<T>(at, x)[(o * n + checked(index[place], n)) * inner + j];
          }
    });
  });
}

void add_put_along(Program& program, int indices, int values, int out, int64_t outer, int64_t n,
                   int64_t m, int64_t inner) {
  DType dtype = program.at(out).dtype;
  size_t bytes = program.at(out).bytes;
  program.step("put_along", {indices, values, out}, [=](char* const* at) {
    const int64_t* index = pointer<int64_t>(at, indices);
    std::memset(at[out], 0, bytes);
    by_type(dtype, [&](auto like) {
      using T = decltype(like);
      for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < m; i++)
          for (int64_t j = 0; j < inner; j++) {
            int64_t place = (o * m + i) * inner + j;
            pointer<T>(at, out)[(o * n + checked(index[place], n)) * inner + j] +=
                pointer<T>(at, values)[place];
          }
    });
  });
}

void add_one_hot(Program& program, int indices, int out, int64_t n, int64_t depth) {
  DType dtype = program.at(out).dtype;
  size_t bytes = program.at(out).bytes;
  program.step("one_hot", {indices, out}, [=](char* const* at) {
    const int64_t* index = pointer<int64_t>(at, indices);
    std::memset(at[out], 0, bytes);
    by_type(dtype, [&](auto like) {
      using T = decltype(like);
      for (int64_t i = 0; i < n; i++)
        if (index[i] >= 0 && index[i] < depth) pointer<T>(at, out)[i * depth + index[i]] = T(1);
    });
  });
}

void add_sequence_mask(Program& program, int lengths, int out, int64_t batch, int64_t steps) {
  program.step("sequence_mask", {lengths, out}, [=](char* const* at) {
    for (int64_t b = 0; b < batch; b++)
      for (int64_t t = 0; t < steps; t++)
        pointer<bool>(at, out)[b * steps + t] = t < pointer<int64_t>(at, lengths)[b];
  });
}

void add_reverse_sequence(Program& program, int x, int lengths, int out, int64_t batch,
                          int64_t steps, int64_t width) {
  size_t bytes = width * size_of(program.at(x).dtype);
  program.step("reverse_sequence", {x, lengths, out}, [=](char* const* at) {
    for (int64_t b = 0; b < batch; b++) {
      int64_t length = std::min(pointer<int64_t>(at, lengths)[b], steps);
      for (int64_t t = 0; t < steps; t++)
        std::memcpy(at[out] + (b * steps + t) * bytes,
                    at[x] + (b * steps + (t < length ? length - 1 - t : t)) * bytes, bytes);
    }
  });
}

}  // namespace gradatim
