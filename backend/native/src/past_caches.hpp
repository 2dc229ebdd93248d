// Copies past the caches, into memory that another process reads next.
//
// A processor that writes to a line which another one has read must first take it from that one's
// caches, and waits for every line; what goes to memory directly waits for nothing.
#pragma once
#include <emmintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace gradatim {

// `to` begins at a multiple of 16 bytes.
inline void copy_past_caches(const char* from, char* to, size_t bytes) {
  size_t at = 0;
  for (; at + 16 <= bytes; at += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + at),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
  std::memcpy(to + at, from + at, bytes - at);
  _mm_sfence();
}

}  // namespace gradatim
