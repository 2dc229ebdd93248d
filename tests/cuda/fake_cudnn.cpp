// The functions of cuDNN 9 that the CUDA backend calls, with their C signatures; convolutions by loops.
//
// Descriptors are checked as the library checks them: attributes, types and counts of elements, sizes that fit.
// `hook` stands for a stream: it is told the number of each execution, and says whether to compute it.
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

enum { OK = 0, BAD_PARAM = 2000, NOT_SUPPORTED = 3000 };
enum { POINTWISE, CONVOLUTION, ENGINE, ENGINECFG, ENGINEHEUR, EXECUTION_PLAN, FORWARD = 10, FILTER, DATA, POINTWISE_OP,
       OPERATIONGRAPH = 15, VARIANT_PACK, TENSOR };
enum { HANDLE, DATA_TYPE, BOOLEAN, INT64, FLOAT, VOID_PTR = 6, CONVOLUTION_MODE, HEUR_MODE, NAN_MODE = 10, NOTE,
       POINTWISE_MODE = 14, DESCRIPTOR };
static const std::map<int, size_t> SIZES = {{HANDLE, 8}, {DATA_TYPE, 4}, {BOOLEAN, 1}, {INT64, 8}, {FLOAT, 4}, {VOID_PTR, 8},
                                            {CONVOLUTION_MODE, 4}, {HEUR_MODE, 4}, {NAN_MODE, 4}, {NOTE, 4},
                                            {POINTWISE_MODE, 4}, {DESCRIPTOR, 8}};
struct Wanted { int attribute, type; bool optional = false; };
static const std::map<int, std::vector<Wanted>> WANTED = {
  {POINTWISE, {{0, POINTWISE_MODE}, {1, DATA_TYPE}, {2, NAN_MODE, true}}},
  {CONVOLUTION, {{100, DATA_TYPE}, {101, CONVOLUTION_MODE}, {102, INT64}, {103, INT64}, {104, INT64}, {105, INT64}, {106, INT64}}},
  {ENGINEHEUR, {{200, HEUR_MODE}, {201, DESCRIPTOR}}},
  {EXECUTION_PLAN, {{400, HANDLE}, {401, DESCRIPTOR}}},
  {FORWARD, {{700, FLOAT}, {701, FLOAT}, {702, DESCRIPTOR}, {703, DESCRIPTOR}, {704, DESCRIPTOR}, {705, DESCRIPTOR}}},
  {DATA, {{706, FLOAT}, {707, FLOAT}, {708, DESCRIPTOR}, {709, DESCRIPTOR}, {710, DESCRIPTOR}, {711, DESCRIPTOR}}},
  {FILTER, {{712, FLOAT}, {713, FLOAT}, {714, DESCRIPTOR}, {715, DESCRIPTOR}, {716, DESCRIPTOR}, {717, DESCRIPTOR}}},
  {POINTWISE_OP, {{750, DESCRIPTOR}, {751, DESCRIPTOR}, {752, DESCRIPTOR, true}, {753, DESCRIPTOR}}},
  {OPERATIONGRAPH, {{800, HANDLE}, {801, DESCRIPTOR}}},
  {VARIANT_PACK, {{1000, INT64}, {1001, VOID_PTR}, {1003, VOID_PTR}}},
  {TENSOR, {{900, INT64}, {901, DATA_TYPE}, {902, INT64}, {903, INT64}, {906, INT64}, {907, BOOLEAN}}}};

struct Object;
struct Value { int type; int64_t count; std::string bytes; };
struct Object {
  int kind; bool finished = false; std::map<int, Value> values;
  int config = -1; Object* graph = nullptr;
  template <class T> std::vector<T> all(int attribute) const {
    auto found = values.find(attribute);
    if (found == values.end()) return {};
    std::vector<T> made(found->second.count);
    memcpy((void*)made.data(), found->second.bytes.data(), found->second.bytes.size());
    return made;
  }
  template <class T> T one(int attribute) const { return all<T>(attribute).at(0); }
  Object* part(int attribute) const { return one<Object*>(attribute); }
};

// What a heuristic proposes: the notes of an engine, whether a plan can be made of it, its workspace.
struct Config { int mode; std::vector<int> notes; bool works; int64_t workspace; };
static const std::vector<Config> CONFIGS = {{3, {0, 4}, true, 0}, {3, {0}, false, 0}, {3, {0}, true, 1024}, {3, {0}, true, 0},
                                            {2, {}, true, 512}, {2, {1}, true, 0}};
static void* const handle_given = (void*)0x4321;
static void* stream = nullptr;
static std::string complaint;
static int alive = 0;
static int (*hook)(int) = nullptr;
struct Execution { Object* graph; int config; std::map<int64_t, void*> at; void* stream; };
static std::vector<Execution> executions;

static int no(const char* why, int status = BAD_PARAM) { complaint = why; return status; }

struct Problem { Object *how, *x, *w, *y; int kind; };
static Problem problem(const Object* op) {
  int first = op->kind == FORWARD ? 702 : op->kind == DATA ? 708 : 714;
  return {op->part(first), op->part(first + 2), op->part(first + 1), op->part(first + 3), op->kind};
}

static int check_sizes(const Object* op) {
  Problem p = problem(op);
  auto x = p.x->all<int64_t>(902), w = p.w->all<int64_t>(902), y = p.y->all<int64_t>(902);
  auto dilation = p.how->all<int64_t>(102), step = p.how->all<int64_t>(103), post = p.how->all<int64_t>(104),
       pre = p.how->all<int64_t>(105);
  size_t rank = p.how->one<int64_t>(106);
  if (rank < 2 || x.size() != rank + 2 || w.size() != rank + 2 || y.size() != rank + 2 || dilation.size() != rank ||
      step.size() != rank || pre.size() != rank || post.size() != rank) return no("ranks differ");
  if (x[0] != y[0] || y[1] != w[0] || x[1] % w[1]) return no("batch or channels do not fit");
  for (size_t i = 0; i < rank; ++i)
    if (y[i + 2] != (x[i + 2] + pre[i] + post[i] - dilation[i] * (w[i + 2] - 1) - 1) / step[i] + 1) return no("windows do not fit");
  for (Object* t : {p.x, p.w, p.y}) {
    auto sizes = t->all<int64_t>(902), strides = t->all<int64_t>(903);
    int64_t want = sizes[1];
    if (strides[1] != 1) return no("channels are not last", NOT_SUPPORTED);
    for (size_t i = rank + 1; i > 1; want *= sizes[i--]) if (strides[i] != want) return no("not dense", NOT_SUPPORTED);
    if (strides[0] != want) return no("not dense", NOT_SUPPORTED);
  }
  return OK;
}

// What no engine has been seen to do: numbers of two bytes beside others.
static bool mixed(Object* graph) {
  std::set<int> types;
  for (Object* op : graph->all<Object*>(801)) for (auto& [attribute, value] : op->values) if (value.type == DESCRIPTOR) {
    Object* t = op->part(attribute);
    if (t->kind == TENSOR && !t->one<char>(907)) types.insert(t->one<int>(901));
  }
  return types.size() > 1;
}

struct Bfloat16 {
  uint16_t bits;
  operator double() const { uint32_t u = uint32_t(bits) << 16; float x; memcpy(&x, &u, 4); return x; }
  explicit Bfloat16(double value) {
    float x = float(value);
    uint32_t u;
    memcpy(&u, &x, 4);
    bits = uint16_t((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
  }
};

template <class T> static void compute(const Execution& e) {
  auto ops = e.graph->all<Object*>(801);
  Problem p = problem(ops[0]);
  auto pad = [](std::vector<int64_t> v, int64_t with, size_t at) { while (v.size() < at + 3) v.insert(v.begin() + at, with); return v; };
  auto x = pad(p.x->all<int64_t>(902), 1, 2), w = pad(p.w->all<int64_t>(902), 1, 2), y = pad(p.y->all<int64_t>(902), 1, 2);
  auto dilation = pad(p.how->all<int64_t>(102), 1, 0), step = pad(p.how->all<int64_t>(103), 1, 0), pre = pad(p.how->all<int64_t>(105), 0, 0);
  auto at = [](const std::vector<int64_t>& n, int64_t a, int64_t b, int64_t i, int64_t j, int64_t k) {
    return (((a * n[2] + i) * n[3] + j) * n[4] + k) * n[1] + b; };
  auto address = [&](Object* t) { auto found = e.at.find(t->one<int64_t>(906)); return found == e.at.end() ? nullptr : (T*)found->second; };
  const std::vector<int64_t>& result = p.kind == FORWARD ? y : p.kind == DATA ? x : w;
  std::vector<double> sums(result[0] * result[1] * result[2] * result[3] * result[4]);
  T *X = address(p.x), *W = address(p.w), *Y = address(p.y);
  int64_t depth = w[1], filters = y[1] / (x[1] / depth);
  for (int64_t n = 0; n < y[0]; ++n) for (int64_t f = 0; f < y[1]; ++f)
    for (int64_t i = 0; i < y[2]; ++i) for (int64_t j = 0; j < y[3]; ++j) for (int64_t k = 0; k < y[4]; ++k)
      for (int64_t a = 0; a < w[2]; ++a) for (int64_t b = 0; b < w[3]; ++b) for (int64_t c = 0; c < w[4]; ++c) {
        int64_t u = i * step[0] - pre[0] + a * dilation[0], v = j * step[1] - pre[1] + b * dilation[1],
                t = k * step[2] - pre[2] + c * dilation[2];
        if (u < 0 || v < 0 || t < 0 || u >= x[2] || v >= x[3] || t >= x[4]) continue;
        for (int64_t d = 0; d < depth; ++d) {
          int64_t of_x = at(x, n, f / filters * depth + d, u, v, t), of_w = at(w, f, d, a, b, c), of_y = at(y, n, f, i, j, k);
          if (p.kind == FORWARD) sums[of_y] += double(X[of_x]) * W[of_w];
          else if (p.kind == DATA) sums[of_x] += double(Y[of_y]) * W[of_w];
          else sums[of_w] += double(X[of_x]) * Y[of_y];
        }
      }
  T* out = p.kind == FORWARD ? Y : p.kind == DATA ? X : W;
  for (size_t o = 1; o < ops.size(); ++o) {
    bool adds = ops[o]->part(750)->one<int>(0) == 0;
    T* bias = adds ? address(ops[o]->part(752)) : nullptr;
    for (size_t i = 0; i < sums.size(); ++i) adds ? sums[i] += bias[i % y[1]] : sums[i] = sums[i] < 0 ? 0 : sums[i];
    out = address(ops[o]->part(753));
  }
  for (size_t i = 0; i < sums.size(); ++i) out[i] = T(sums[i]);
}

extern "C" {
void fake_cudnn_hook(int (*to)(int)) { hook = to; }
void fake_cudnn_run(int number) {
  const Execution& e = executions[number];
  switch (problem(e.graph->all<Object*>(801)[0]).x->one<int>(901)) {
    case 1: return compute<double>(e);
    case 2: return compute<_Float16>(e);
    case 9: return compute<Bfloat16>(e);
    default: return compute<float>(e);
  }
}
int fake_cudnn_type(int number) { return problem(executions[number].graph->all<Object*>(801)[0]).y->one<int>(901); }
int fake_cudnn_config(int number) { return executions[number].config; }
int fake_cudnn_operations(int number) { return int(executions[number].graph->all<Object*>(801).size()); }
void* fake_cudnn_stream(int number) { return executions[number].stream; }
int fake_cudnn_alive() { return alive; }

size_t cudnnGetVersion(void) { return 91002; }
const char* cudnnGetErrorString(int status) { return status == BAD_PARAM ? "CUDNN_STATUS_BAD_PARAM" : "CUDNN_STATUS_NOT_SUPPORTED"; }
void cudnnGetLastErrorString(char* text, size_t size) { strncpy(text, complaint.c_str(), size - 1); text[size - 1] = 0; }
int cudnnCreate(void** handle) { *handle = handle_given; return OK; }
int cudnnSetStream(void* handle, void* to) { stream = to; return handle == handle_given ? OK : no("handle"); }

int cudnnBackendCreateDescriptor(int kind, Object** made) {
  if (!WANTED.count(kind) && kind != ENGINE && kind != ENGINECFG) return no("no such kind");
  *made = new Object{kind};
  ++alive;
  return OK;
}
int cudnnBackendDestroyDescriptor(Object*) { --alive; return OK; }       // graphs keep theirs alive: here for ever
int cudnnBackendSetAttribute(Object* to, int attribute, int type, int64_t count, const void* elements) {
  if (to->finished) return no("is finished");
  for (const Wanted& w : WANTED.at(to->kind)) if (w.attribute == attribute) {
    if (w.type != type) return no("type of an attribute");
    to->values[attribute] = {type, count, std::string((const char*)elements, count * SIZES.at(type))};
    if (type == DESCRIPTOR) for (Object* part : to->all<Object*>(attribute)) if (!part->finished) return no("a part is not finished");
    return OK;
  }
  return no("attribute of another kind");
}
int cudnnBackendFinalize(Object* of) {
  for (const Wanted& w : WANTED.at(of->kind)) if (!w.optional && !of->values.count(w.attribute)) return no("an attribute is missing");
  if (of->kind == FORWARD || of->kind == DATA || of->kind == FILTER) if (int status = check_sizes(of)) return status;
  if (of->kind == TENSOR && of->all<int64_t>(902).size() != of->all<int64_t>(903).size()) return no("sizes and strides");
  if (of->kind == VARIANT_PACK && of->all<int64_t>(1000).size() != of->all<void*>(1001).size()) return no("numbers and pointers");
  for (int handle : {400, 800}) if (of->values.count(handle) && of->one<void*>(handle) != handle_given) return no("handle");
  if (of->kind == EXECUTION_PLAN) {
    Object* config = of->part(401);
    if (!CONFIGS[config->config].works) return no("no plan of this engine", NOT_SUPPORTED);
    of->config = config->config;
    of->graph = config->graph;
  }
  of->finished = true;
  return OK;
}
int cudnnBackendGetAttribute(Object* of, int attribute, int type, int64_t most, int64_t* count, void* elements) {
  if (of->kind == ENGINEHEUR && attribute == 202 && type == DESCRIPTOR) {
    *count = 0;
    if (mixed(of->part(201))) return OK;
    for (size_t i = 0; i < CONFIGS.size(); ++i) if (CONFIGS[i].mode == of->one<int>(200) && *count < most) {
      Object* config = ((Object**)elements)[(*count)++];
      *config = Object{ENGINECFG, true, {}, int(i), of->part(201)};
    }
    return OK;
  }
  if (of->kind == ENGINECFG && attribute == 300 && type == DESCRIPTOR && most == 1) {
    **(Object**)elements = Object{ENGINE, true, {}, of->config, of->graph};
    *count = 1;
    return OK;
  }
  if (of->kind == ENGINE && attribute == 1303 && type == NOTE) {
    auto& notes = CONFIGS[of->config].notes;
    *count = notes.size();
    memcpy(elements, notes.data(), 4 * notes.size());
    return OK;
  }
  if (of->kind == EXECUTION_PLAN && attribute == 402 && type == INT64) {
    *count = 1;
    *(int64_t*)elements = CONFIGS[of->config].workspace;
    return OK;
  }
  return no("attribute cannot be read");
}
int cudnnBackendExecute(void* handle, Object* plan, Object* pack) {
  if (handle != handle_given || !plan->finished || !pack->finished || plan->kind != EXECUTION_PLAN || pack->kind != VARIANT_PACK)
    return no("handle, plan or pack");
  if (CONFIGS[plan->config].workspace && !pack->one<void*>(1003)) return no("no workspace");
  Execution e{plan->graph, plan->config, {}, stream};
  auto numbers = pack->all<int64_t>(1000);
  auto pointers = pack->all<void*>(1001);
  for (size_t i = 0; i < numbers.size(); ++i) e.at[numbers[i]] = pointers[i];
  for (Object* op : plan->graph->all<Object*>(801)) for (auto& [attribute, value] : op->values) {
    if (value.type != DESCRIPTOR || op->part(attribute)->kind != TENSOR) continue;
    Object* t = op->part(attribute);
    auto found = e.at.find(t->one<int64_t>(906));
    if (t->one<char>(907) == (found != e.at.end())) return no("a tensor has no address, or a virtual one has");
    if (found != e.at.end() && uintptr_t(found->second) % t->one<int64_t>(900)) return no("not aligned");
  }
  executions.push_back(e);
  int last = int(executions.size()) - 1;
  if (!hook || hook(last)) fake_cudnn_run(last);
  return OK;
}
}

// ---- recurrent layers: checked here, computed by who is asked -----------------------------------

// What a call was given, in the order of its arguments; addresses that the library reads or writes.
struct Layer { int algorithm, cell, type, math, features, units; bool dropout; };
struct Sequences { int type, steps, batch, width; };
struct State { int type, count, sizes[3]; };
struct Dropout { bool set = false; };
struct RnnCall { int settings[10]; void* at[14]; };
static std::vector<RnnCall> rnn_calls;
static int (*rnn_hook)(int) = nullptr;

static size_t matrices(const Layer* r, int count) {                // elements of the first so many
  int gates = r->cell == 2 ? 4 : r->cell == 3 ? 3 : 1;
  return size_t(r->units) * (count < gates ? count * r->features : gates * r->features + (count - gates) * r->units);
}
static int gates_of(const Layer* r) { return r->cell == 2 ? 4 : r->cell == 3 ? 3 : 1; }
static size_t element(const Layer* r) { return r->type == 1 ? 8 : 4; }
static size_t weight_bytes(const Layer* r) { return element(r) * (matrices(r, 2 * gates_of(r)) + 2 * gates_of(r) * r->units); }
static size_t reserve_bytes(const Layer* r, const Sequences* x) { return element(r) * x->batch * x->steps * (gates_of(r) + 1) * r->units; }

static int check_layer(void* handle, const Layer* r, const int32_t* lengths, const Sequences* x, const Sequences* y,
                       const State* h, const State* c, size_t weights, size_t workspace, void* work, size_t reserve, bool training) {
  if (handle != handle_given || lengths || h != c || !work) return no("handle, lengths or states");
  if (x->type != r->type || y->type != r->type || h->type != r->type) return no("types differ");
  if (x->width != r->features || y->width != r->units || x->batch != y->batch || x->steps != y->steps) return no("sequences do not fit");
  if (h->count != 3 || h->sizes[0] != 1 || h->sizes[1] != x->batch || h->sizes[2] != r->units) return no("states do not fit");
  if (weights != weight_bytes(r) || workspace != 128 || reserve != (training ? reserve_bytes(r, x) : 0)) return no("sizes of spaces");
  return OK;
}
static int record(const Layer* r, const Sequences* x, int kind, int training, std::vector<const void*> at) {
  RnnCall call{{r->algorithm, r->cell, r->type, r->math, x->batch, x->steps, r->features, r->units, kind, training}, {}};
  for (size_t i = 0; i < at.size(); ++i) call.at[i] = (void*)at[i];
  rnn_calls.push_back(call);
  return rnn_hook ? rnn_hook(int(rnn_calls.size()) - 1) : OK;
}

extern "C" {
void fake_rnn_hook(int (*to)(int)) { rnn_hook = to; }
const RnnCall* fake_rnn_call(int number) { return &rnn_calls[number]; }

int cudnnCreateRNNDescriptor(Layer** p) { *p = new Layer{}; ++alive; return OK; }
int cudnnDestroyRNNDescriptor(Layer* p) { delete p; --alive; return OK; }
int cudnnCreateRNNDataDescriptor(Sequences** p) { *p = new Sequences{}; ++alive; return OK; }
int cudnnDestroyRNNDataDescriptor(Sequences* p) { delete p; --alive; return OK; }
int cudnnCreateTensorDescriptor(State** p) { *p = new State{}; ++alive; return OK; }
int cudnnDestroyTensorDescriptor(State* p) { delete p; --alive; return OK; }
int cudnnCreateDropoutDescriptor(Dropout** p) { *p = new Dropout{}; ++alive; return OK; }
int cudnnDestroyDropoutDescriptor(Dropout* p) { delete p; --alive; return OK; }
int cudnnSetDropoutDescriptor(Dropout* p, void* handle, float rate, void* states, size_t bytes, unsigned long long) {
  p->set = true;
  return handle != handle_given || rate || states || bytes ? no("dropout") : OK;
}
int cudnnSetTensorNdDescriptor(State* p, int type, int count, const int* sizes, const int* strides) {
  if (count != 3 || strides[2] != 1 || strides[1] != sizes[2] || strides[0] != sizes[1] * sizes[2]) return no("strides");
  *p = State{type, count, {sizes[0], sizes[1], sizes[2]}};
  return OK;
}
int cudnnSetRNNDescriptor_v8(Layer* p, int algorithm, int cell, int bias, int direction, int input, int type, int precision,
                             int math, int32_t features, int32_t units, int32_t projected, int32_t layers, Dropout* dropout,
                             uint32_t flags) {
  if (bias != 2 || direction || input || precision != type || projected != units || layers != 1 || !dropout || flags != 1)
    return no("settings of a layer");
  if (algorithm == 1 && type == 1) return no("not in double", NOT_SUPPORTED);
  *p = Layer{algorithm, cell, type, math, features, units, true};
  return OK;
}
int cudnnSetRNNDataDescriptor(Sequences* p, int type, int layout, int steps, int batch, int width, const int* lengths, void*) {
  if (layout != 2) return no("layout");
  for (int i = 0; i < batch; ++i) if (lengths[i] != steps) return no("lengths");
  *p = Sequences{type, steps, batch, width};
  return OK;
}
int cudnnBuildRNNDynamic(void* handle, Layer* p, int) { return p->algorithm == 2 ? no("no compiler", NOT_SUPPORTED) : no("algorithm"); }
int cudnnGetRNNTempSpaceSizes(void* handle, Layer* r, int training, Sequences* x, size_t* workspace, size_t* reserve) {
  *workspace = 128;
  *reserve = training ? reserve_bytes(r, x) : 0;
  return handle == handle_given ? OK : no("handle");
}
int cudnnGetRNNWeightSpaceSize(void* handle, Layer* r, size_t* bytes) { *bytes = weight_bytes(r); return OK; }
int cudnnGetRNNWeightParams(void* handle, Layer* r, int32_t layer, size_t bytes, char* base, int32_t linear, State* m, char** matrix,
                            State* b, char** bias) {
  if (layer || bytes != weight_bytes(r) || linear >= 2 * gates_of(r) || !m || !b) return no("weights");
  *matrix = base + element(r) * matrices(r, linear);
  *bias = base + element(r) * (matrices(r, 2 * gates_of(r)) + linear * r->units);
  return OK;
}
int cudnnRNNForward(void* handle, Layer* r, int training, const int32_t* lengths, Sequences* x_, const void* x, Sequences* y_, void* y,
                    State* h, const void* hx, void* hy, State* c, const void* cx, void* cy, size_t weight_bytes, const void* weights,
                    size_t work_bytes, void* work, size_t reserve_bytes, void* reserve) {
  if (int s = check_layer(handle, r, lengths, x_, y_, h, c, weight_bytes, work_bytes, work, reserve_bytes, training)) return s;
  return record(r, x_, 0, training, {x, hx, cx, weights, y, hy, cy, reserve, work});
}
static void* last_reserve;
int cudnnRNNBackwardData_v8(void* handle, Layer* r, const int32_t* lengths, Sequences* y_, const void* y, const void* dy,
                            Sequences* x_, void* dx, State* h, const void* hx, const void* dhy, void* dhx, State* c, const void* cx,
                            const void* dcy, void* dcx, size_t weight_bytes, const void* weights, size_t work_bytes, void* work,
                            size_t reserve_bytes, void* reserve) {
  if (int s = check_layer(handle, r, lengths, x_, y_, h, c, weight_bytes, work_bytes, work, reserve_bytes, true)) return s;
  last_reserve = reserve;
  return record(r, x_, 1, 1, {nullptr, hx, cx, weights, y, dy, dhy, dcy, dx, dhx, dcx, nullptr, reserve, work});
}
int cudnnRNNBackwardWeights_v8(void* handle, Layer* r, int mode, const int32_t* lengths, Sequences* x_, const void* x, State* h,
                               const void* hx, Sequences* y_, const void* y, size_t weight_bytes, void* dweights, size_t work_bytes,
                               void* work, size_t reserve_bytes, void* reserve) {
  if (int s = check_layer(handle, r, lengths, x_, y_, h, h, weight_bytes, work_bytes, work, reserve_bytes, true)) return s;
  if (mode || last_reserve != reserve) return no("mode, or the gradient of the data was not asked first");
  RnnCall& data = rnn_calls.back();
  return record(r, x_, 2, 1, {x, hx, data.at[2], data.at[3], y, data.at[5], data.at[6], data.at[7], data.at[8], data.at[9], data.at[10],
                              dweights, reserve, work});
}
}
