// How hot loops are compiled: for the newest instructions, picked when the library is loaded.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")
// Before a loop as short as a register is long: one instruction, where unrolled it were so many.
#define TOGETHER IVDEP _Pragma("GCC unroll 1")
#define INLINE inline __attribute__((always_inline))

namespace gradatim {

// Whether kernels written for both lengths of registers use the longer ones; oneDNN's variable
// holds ours to narrower instructions, too.
inline bool wide_registers() {
  const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");
  return __builtin_cpu_supports("x86-64-v4") && !(most && std::strncmp(most, "AVX512", 6));
}

// Asks for a row ahead of its use: rows may lie pages apart, which no processor foresees.
template <class T> void fetch(const T* from, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / sizeof(T)) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace gradatim
