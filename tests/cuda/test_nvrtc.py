"""NVRTC compiles every kernel, and the chains generated for nets, for every GPU; none is needed."""
import re
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers, testing
from gradatim.backend.cuda import CudaBackend, cache, nvrtc
from gradatim.backend.cuda.cpu_device import CpuDevice
from gradatim.backend.cuda.device import Source
from gradatim.backend.errors import BackendError

try:
    distribution("nvidia-cuda-nvrtc")
except PackageNotFoundError:
    pytest.skip("the wheel nvidia-cuda-nvrtc is not installed", allow_module_level=True)

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


class Recorder(CpuDevice):
    """A device that computes nothing and remembers every kernel it is asked for."""
    def __init__(self, libraries=False):
        super().__init__(libraries=libraries)
        self.sources = {}

    def function(self, source, name):
        self.sources.setdefault(source, set()).add(name)


def optimized(graph):
    return gt.backend.passes.optimize(graph)[0]


def op_graphs():
    """Every op with every sample in both element types, and its gradient."""
    for case in testing.op_cases():
        for dtype in ("float32", "float64"):
            inputs = [gt.placeholder(a.shape, a.dtype) for a in case.cast(dtype)]
            made = case.op(*inputs, **case.settings)
            outputs = list(made) if isinstance(made, tuple) else [made]
            yield optimized(gt.Graph(outputs, {}, inputs))
            if dtype == "float64":                  # the same kernels in another element type
                continue
            floats = [t for t in outputs if t.spec.is_float]
            wrt = [t for t in inputs if t.spec.is_float]
            if case.op.grad is not None and floats and wrt:
                total = sum((t.sum() for t in floats[1:]), floats[0].sum())
                yield optimized(gt.Graph(gt.gradients(total, wrt), {}, inputs))


NETS = {
    "dense": ((20,), lambda: [layers.Dense(16, "relu"), layers.Dropout(0.5),
                              layers.LayerNormalization(), layers.Dense(3)]),
    "images": ((12, 12, 3), lambda: [layers.Conv2D(8, 3, use_bias=False),
                                     layers.BatchNormalization(), layers.Activation("relu"),
                                     layers.MaxPooling2D(2), layers.DepthwiseConv2D(3),
                                     layers.Conv2D(8, 2), layers.BatchNormalization(),
                                     layers.GlobalAveragePooling2D(), layers.Dense(3)]),
    "sequences": ((7, 4), lambda: [layers.LSTM(8, return_sequences=True), layers.GRU(8),
                                   layers.Dense(3)]),
}


def net_graphs():
    """Whole training steps and predictions."""
    graphs = []

    class Keeping(CudaBackend):
        def compile(self, graph, device="", communicator=None):
            graphs.append(graph)
            return gt.get_backend("reference").compile(graph, device, communicator)

    rng, backend = np.random.default_rng(0), Keeping(Recorder())
    for name, optimizer, precision in (
            ("dense", "adamw", None), ("images", "sgd", None), ("sequences", "rmsprop", None),
            ("dense", "adam", "bfloat16"), ("images", "sgd", "float16")):
        shape, build = NETS[name]
        model = gt.Trainer(gt.Sequential(build()), layers.SparseCategoricalCrossentropy(
            from_logits=True), optimizer, metrics=["accuracy"], backend=backend,
            precision=precision)
        X = rng.standard_normal((8, *shape)).astype("f")
        model.fit(X, rng.integers(0, 3, 8), epochs=1, batch_size=None)
        model.predict(X)
    return graphs


@pytest.fixture(scope="session")
def kernels():
    """The sources that ops ask for and those that nets do, with their kernels' names."""
    found, nets = [], net_graphs()
    for graphs, libraries in ((op_graphs(), False), (nets, False), (nets, True)):
        recorder = Recorder(libraries)
        for graph in graphs:
            CudaBackend(recorder).compile(graph)
        found.append(recorder.sources)
    of_ops, of_nets, with_libraries = found
    return of_ops | with_libraries, of_nets


def united(sources):
    """All sources as one, each in a namespace of its own, with the macros it is compiled with."""
    included, parts = {}, []
    for number, source in enumerate(sources):
        text = source.text.replace('extern "C" ', "")
        included.update(dict.fromkeys(re.findall(r'#include "\S+"', text)))
        text = re.sub(r'#include "\S+"|#pragma once', "", text)
        parts += [*(f"#define {k} {v}" for k, v in source.macros),
                  f"namespace kernels_{number} {{\n{text}\n}}",
                  *(f"#undef {k}" for k, _ in source.macros)]
    return Source("all", "\n".join([*included, *parts]))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_is_a_program_for(kernels, architecture):
    """All of them as unoptimised PTX, which takes a second."""
    of_ops, of_nets = kernels
    sources = {**of_ops, **of_nets}
    assert len(sources) > 100
    compiler, flags = nvrtc.nvrtc(), [f"-arch=compute_{architecture}", "-G", *nvrtc.FLAGS]
    code = compiler._compile(united(sources), flags, "PTX")
    assert all(n.encode() in code for names in sources.values() for n in names)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_become_machine_code_for(kernels, architecture):
    """Those of nets, and of the others in ``kernels/`` one part for each architecture."""
    of_ops, of_nets = kernels
    own = [s for s in of_ops if not s.name.startswith("chain")]
    part = own[ARCHITECTURES.index(architecture)::len(ARCHITECTURES)]
    code = compiled(united({*of_nets, *part}), f"sm_{architecture}")
    assert code.startswith(b"\x7fELF")
    assert all(n.encode() in code for names in of_nets.values() for n in names)


def test_no_kernel_file_is_forgotten(kernels):
    files = {p.stem for p in cache.KERNELS.glob("*.cu")}
    assert files <= {s.name for sources in kernels for s in sources}


def compiled(source, architecture):
    """What the compiler makes of a source, without the cache."""
    compiler = nvrtc.nvrtc()
    options, kind = compiler._options(source, architecture)
    return compiler._compile(source, options, kind)


SAXPY = Source("saxpy", 'extern "C" __global__ void saxpy(T a, const T* x, T* y) {\n'
               "  y[threadIdx.x] += a * x[threadIdx.x];\n}", (("T", "float"),))


def test_names_and_architectures():
    compiler = nvrtc.nvrtc()
    assert set(ARCHITECTURES) <= set(compiler.architectures)
    assert b"saxpy" in compiled(SAXPY, "sm_90a")
    assert compiler.version.partition(".")[0] in ("12", "13")


def test_a_gpu_newer_than_the_compiler_gets_ptx(monkeypatch):
    compiler = nvrtc.nvrtc()
    monkeypatch.setattr(compiler, "architectures", (75, 80))
    assert b".target sm_80" in compiled(SAXPY, "sm_90")


def test_a_gpu_older_than_the_compiler_is_refused():
    compiler = nvrtc.nvrtc()
    with pytest.raises(BackendError) as caught:
        compiler.compiled(SAXPY, "sm_35")
    assert str(caught.value) == (
        f"NVRTC {compiler.version} does not compile for a GPU of architecture sm_35\n"
        f"  got  sm_{min(compiler.architectures)} and newer\n"
        '  fix  pip install "gradatim[cuda12]", which knows older GPUs')


def test_errors_carry_what_the_compiler_says():
    with pytest.raises(BackendError) as caught:
        compiled(Source("wrong", "__global__ void f() { nothing_of_this_name(); }"), "sm_80")
    assert caught.value.what == "the kernels wrong do not compile"
    assert 'wrong.cu(1): error: identifier "nothing_of_this_name"' in caught.value.facts["why"]


def test_what_was_compiled_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path))
    compiler = nvrtc.nvrtc()
    first = compiler.compiled(SAXPY, "sm_80")
    monkeypatch.setattr(nvrtc.Nvrtc, "_compile", None)
    assert compiler.compiled(SAXPY, "sm_80") == first
    with pytest.raises(TypeError):                               # other macros, another kernel
        compiler.compiled(SAXPY._replace(macros=(("T", "double"),)), "sm_80")


def test_missing_compiler(monkeypatch):
    monkeypatch.setitem(nvrtc.LIBRARIES, "NVRTC", nvrtc.LIBRARIES["NVRTC"]._replace(
        wheels=("no-such-wheel",), system=("libnone.so.1",)))
    nvrtc.open_library.cache_clear()
    with pytest.raises(BackendError) as caught:
        nvrtc.Nvrtc()
    assert str(caught.value) == (
        "NVRTC, which compiles kernels for a GPU, is not installed\n"
        '  fix  pip install "gradatim[cuda13]", or "gradatim[cuda12]" for a driver older than 580')
