// The instruction set of elementwise chains: one loop each, the newest instructions at run time.
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace gradatim {

// d = op(a, b, c) for n elements; d may be one of the sources.
using Loop = void (*)(void* d, const void* a, const void* b, const void* c, int n);

// "add_float32", "cast_int64_float32", "select_bool", ...
const std::map<std::string, Loop>& loops();

}  // namespace gradatim
