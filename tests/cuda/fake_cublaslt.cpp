// The functions of cuBLASLt that the CUDA backend calls, with their C signatures, computed by loops.
//
// `hook` stands for a stream: it is told the number of each product, and says whether to compute it.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

struct Product { int compute, scale; int32_t a = 0, b = 0, epilogue = 1; uint64_t bias = 0; };
struct Matrix { int type; uint64_t rows, columns; int64_t leading; int32_t count = 1; int64_t stride = 0; };
struct Preference { uint64_t workspace = 0; uint32_t aligned[4] = {256, 256, 256, 256}; };
struct Heuristic { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; };
static_assert(sizeof(Heuristic) == 96, "as in cublasLt.h");

struct Call {
  Product what; Matrix A, B, D; const void *a, *b; void* d; double alpha, beta; void* workspace;
  size_t bytes; void* stream; uint64_t algorithm;
};
static std::vector<Call> calls;
static int (*hook)(int) = nullptr;
static int refused = 0;                    // 1: no algorithm is found; 2: the status says so

// An element of a type of library_types.h: float32, float64, float16, bfloat16.
static double element(const void* from, int type, int64_t i) {
  if (type == 0) return ((const float*)from)[i];
  if (type == 1) return ((const double*)from)[i];
  uint16_t bits = ((const uint16_t*)from)[i];
  if (type == 14) {
    uint32_t wide = uint32_t(bits) << 16;
    float x;
    memcpy(&x, &wide, 4);
    return x;
  }
  int power = bits >> 10 & 31, rest = bits & 1023;
  double size = power ? ldexp(1024 + rest, power - 25) : ldexp(rest, -24);
  return bits >> 15 ? -size : size;
}

template <class T> static void compute(const Call& c) {
  uint64_t inner = c.what.a ? c.A.rows : c.A.columns;
  for (int32_t batch = 0; batch < c.D.count; ++batch) {
    int64_t a = batch * c.A.stride, b = batch * c.B.stride;
    T* d = (T*)c.d + batch * c.D.stride;
    for (uint64_t j = 0; j < c.D.columns; ++j)
      for (uint64_t i = 0; i < c.D.rows; ++i) {
        double sum = 0;
        for (uint64_t k = 0; k < inner; ++k)
          sum += element(c.a, c.A.type, a + (c.what.a ? k + i * c.A.leading : i + k * c.A.leading)) *
                 element(c.b, c.B.type, b + (c.what.b ? j + k * c.B.leading : k + j * c.B.leading));
        sum = c.alpha * sum;
        if (c.what.epilogue & 4) sum += ((const T*)c.what.bias)[i];
        if (c.what.epilogue & 2 && sum < 0) sum = 0;
        d[i + j * c.D.leading] = T(sum);
      }
  }
}

extern "C" {
void fake_refuse(int how) { refused = how; }
void fake_hook(int (*to)(int)) { hook = to; }
void fake_run(int number) {
  const Call& c = calls[number];
  c.D.type == 1 ? compute<double>(c) : compute<float>(c);
}
int fake_factors(int number) { return calls[number].A.type; }
int fake_compute(int number) { return calls[number].what.compute; }
void* fake_stream(int number) { return calls[number].stream; }
size_t fake_workspace(int number) { return calls[number].bytes; }

int cublasLtCreate(void** handle) { *handle = (void*)0x1234; return 0; }
int cublasLtMatmulDescCreate(Product** p, int compute, int scale) { *p = new Product{compute, scale}; return 0; }
int cublasLtMatmulDescDestroy(Product* p) { delete p; return 0; }
int cublasLtMatmulDescSetAttribute(Product* p, int attribute, const void* value, size_t size) {
  switch (attribute) {
    case 3: memcpy(&p->a, value, 4); return size == 4 ? 0 : 7;
    case 4: memcpy(&p->b, value, 4); return size == 4 ? 0 : 7;
    case 7: memcpy(&p->epilogue, value, 4); return size == 4 ? 0 : 7;
    case 8: memcpy(&p->bias, value, 8); return size == 8 ? 0 : 7;
  }
  return 7;
}
int cublasLtMatrixLayoutCreate(Matrix** m, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (leading < int64_t(rows)) return 7;
  *m = new Matrix{type, rows, columns, leading};
  return 0;
}
int cublasLtMatrixLayoutDestroy(Matrix* m) { delete m; return 0; }
int cublasLtMatrixLayoutSetAttribute(Matrix* m, int attribute, const void* value, size_t size) {
  if (attribute == 5) { memcpy(&m->count, value, 4); return size == 4 ? 0 : 7; }
  if (attribute == 6) { memcpy(&m->stride, value, 8); return size == 8 ? 0 : 7; }
  return 7;
}
int cublasLtMatmulPreferenceCreate(Preference** p) { *p = new Preference; return 0; }
int cublasLtMatmulPreferenceDestroy(Preference* p) { delete p; return 0; }
int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t size) {
  if (attribute == 1) { memcpy(&p->workspace, value, 8); return size == 8 ? 0 : 7; }
  if (attribute < 5 || attribute > 8 || size != 4) return 7;
  memcpy(&p->aligned[attribute - 5], value, 4);
  return 0;
}
int cublasLtMatmulAlgoGetHeuristic(void* handle, Product*, Matrix* A, Matrix* B, Matrix* C, Matrix* D,
                                   Preference* p, int wanted, Heuristic* found, int* count) {
  if (handle != (void*)0x1234 || C != D || wanted != 1 || !p->workspace) return 7;
  bool halves = (A->type == 2 || A->type == 14) && D->type == 0;      // which the library adds up in float32
  *count = A->type == B->type && (B->type == D->type || halves) && !refused;
  if (refused == 2) return 15;
  found->algorithm[0] = 42;
  found->workspace = 0;
  return 0;
}
int cublasLtMatmul(void* handle, Product* p, const void* alpha, const void* a, Matrix* A, const void* b, Matrix* B,
                   const void* beta, const void* c, Matrix* C, void* d, Matrix* D, const uint64_t* algorithm,
                   void* workspace, size_t bytes, void* stream) {
  if (handle != (void*)0x1234 || c != d || C != D || algorithm[0] != 42 || !workspace) return 7;
  auto number = [&](const void* x) { return p->scale == 1 ? *(const double*)x : double(*(const float*)x); };
  if (number(beta) != 0) return 7;
  calls.push_back({*p, *A, *B, *D, a, b, d, number(alpha), 0, workspace, bytes, stream, algorithm[0]});
  int last = int(calls.size()) - 1;
  if (!hook || hook(last)) fake_run(last);
  return 0;
}
}
