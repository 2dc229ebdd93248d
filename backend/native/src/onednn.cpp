// Trampolines: each oneDNN function jumps to the address found in the library opened privately.
#include "onednn.hpp"

#include <dlfcn.h>

#include <stdexcept>

// Every function of oneDNN that primitives.cpp uses; the linker names any that is missing.
#define FUNCTIONS(F)                                                                         \
  F(dnnl_convolution_backward_data_primitive_desc_create)                                    \
  F(dnnl_convolution_backward_weights_primitive_desc_create)                                 \
  F(dnnl_convolution_forward_primitive_desc_create)                                          \
  F(dnnl_engine_create) F(dnnl_engine_destroy) F(dnnl_matmul_primitive_desc_create)          \
  F(dnnl_memory_create_v2) F(dnnl_memory_desc_clone) F(dnnl_memory_desc_create_with_strides) \
  F(dnnl_memory_desc_create_with_tag) F(dnnl_memory_desc_destroy) F(dnnl_memory_desc_equal)  \
  F(dnnl_memory_desc_get_size_v2) F(dnnl_memory_desc_query) F(dnnl_memory_destroy)           \
  F(dnnl_memory_set_data_handle)                                                             \
  F(dnnl_primitive_attr_create) F(dnnl_primitive_attr_destroy)                               \
  F(dnnl_primitive_attr_set_scratchpad_mode)                                                 \
  F(dnnl_primitive_create) F(dnnl_primitive_desc_destroy) F(dnnl_primitive_desc_query_md)    \
  F(dnnl_primitive_destroy) F(dnnl_primitive_execute) F(dnnl_reorder_primitive_desc_create)  \
  F(dnnl_stream_create) F(dnnl_stream_destroy)

// The symbol is hidden in this extension, so it neither meets nor replaces anyone else's.
#define TRAMPOLINE(name)                                                                     \
  extern "C" { __attribute__((visibility("hidden"))) void* gradatim_##name = nullptr; }      \
  asm(".text\n.globl " #name "\n.hidden " #name "\n.type " #name ", @function\n" #name       \
      ":\n  endbr64\n  jmp *gradatim_" #name "(%rip)\n");

FUNCTIONS(TRAMPOLINE)

namespace gradatim {

#ifdef __SANITIZE_ADDRESS__   // it watches calls by taking the place of functions
constexpr int HOW = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int HOW = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

std::string open_onednn(const std::string& path) {
  void* library = dlopen(path.c_str(), HOW);
  if (!library) throw std::runtime_error(dlerror());
  struct Version { int major, minor, patch; };
  auto version = reinterpret_cast<const Version* (*)()>(dlsym(library, "dnnl_version"));
  if (!version) throw std::runtime_error(path + " does not tell its version");
  const Version* v = version();
  if (v->major != 3) throw std::runtime_error("oneDNN " + std::to_string(v->major) +
                                              " is not version 3");
#define FIND(name) \
  if (!dlsym(library, #name)) throw std::runtime_error(path + " has no " #name);
#define TAKE(name) gradatim_##name = dlsym(library, #name);
  FUNCTIONS(FIND)        // all or none: what is open already stays open
  FUNCTIONS(TAKE)
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch);
}

}  // namespace gradatim
