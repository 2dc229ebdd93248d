// How hot loops are compiled: for the newest instructions, picked when the library is loaded.
#pragma once

#define VECTORISED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define IVDEP _Pragma("GCC ivdep")
#define INLINE inline __attribute__((always_inline))
