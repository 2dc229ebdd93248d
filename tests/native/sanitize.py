"""Build the native core with AddressSanitizer and UndefinedBehaviorSanitizer and test it so.

Run as ``python tests/native/sanitize.py`` for all tests of the native backend, ``--short`` for
some, or with names of test files. It works in a scratch folder and leaves the checkout as it is.
"""
import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ["-std=c++17", "-O1", "-g1", "-fPIC", "-fopenmp", "-fvisibility=hidden",
         "-fno-math-errno", "-fno-trapping-math", "-fno-omit-frame-pointer",
         "-fsanitize=address,undefined"]
WATCH = {"ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0",  # Python frees little at exit
         "UBSAN_OPTIONS": "halt_on_error=0"}
OPTIONS = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "GRADATIM_NATIVE": "required"}
# A few whole training steps, and every kernel of our own once.
SHORT = ["test_native.py", "-k", "training_step and 17 or test_op and (float or -0) or whole"]


def include_folders() -> list[str]:
    """Of Python, pybind11 and oneDNN."""
    import pybind11
    headers = [f.locate() for f in files("onednn-devel-cpu-gomp") or ()
               if f.name == "dnnl.hpp" and f.parent.name == "dnnl"]
    return [sysconfig.get_path("include"), pybind11.get_include(),
            str(Path(headers[0]).resolve().parents[2])]


def build(folder: Path) -> Path:
    """A copy of the package with a core that watches itself."""
    package = folder / "gradatim"
    shutil.copytree(ROOT, package, ignore=shutil.ignore_patterns(
        ".git", "__pycache__", "*.so", "build", "dist", ".venv", "*.egg-info"))
    native = package / "backend" / "native"
    includes = [f"-I{name}" for name in include_folders()]

    def compiled(source: Path) -> str:
        target = folder / f"{source.stem}.o"
        subprocess.run([COMPILER, *FLAGS, *includes, "-c", source, "-o", target], check=True)
        return str(target)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        parts = list(pool.map(compiled, sorted((native / "src").glob("*.cpp"))))
    core = native / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run([COMPILER, *FLAGS, "-shared", *parts, "-ldl", "-o", core], check=True)
    return package


def library(name: str) -> str:
    """Where the compiler keeps a run-time library."""
    found = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True,
                           check=True).stdout.strip()
    return os.path.realpath(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="some tests; the build takes longest")
    parser.add_argument("arguments", nargs="*", help="test files, and what else pytest takes")
    options, others = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        tests = build(Path(scratch)) / "tests" / "native"
        wanted = [*options.arguments, *others] or (SHORT if options.short else
                  sorted(p.name for p in tests.glob("test_native*.py")))
        # What child processes say on the error stream would be lost. AddressSanitizer, which ends
        # the process, is heard all the same: by its exit code.
        watch = {name: f"{value}:log_path={scratch}/report-{name[:4]}"
                 for name, value in WATCH.items()}
        # libasan holds a part of libubsan that knows no log_path, so libubsan comes first.
        preload = " ".join(map(library, ("libubsan.so", "libasan.so", "libstdc++.so")))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys"]
        environment = os.environ | OPTIONS | watch | {"PYTHONPATH": scratch, "LD_PRELOAD": preload}
        code = subprocess.run([*command, *wanted], cwd=tests, env=environment).returncode
        reports = sorted(Path(scratch).glob("report*"))
        for text in dict.fromkeys(report.read_text() for report in reports):
            print(text)
        print(f"{len(reports)} reports of errors")
        return int(bool(code or reports))


if __name__ == "__main__":
    sys.exit(main())
