"""The compiled part: c_src/ and its Cython binding as one extension module, lstmc._core.

Everything else is in pyproject.toml. The module uses the limited API, so that one wheel serves
every CPython from 3.11 on.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
ABI = 0x030B0000

sources = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "c_src").rglob("*.c"))
headers = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "c_src").rglob("*.h"))

if os.name == "nt":
    flags, link = ["/O2", "/std:c11"], []
else:
    # The SIMD targets choose their instructions in the source. What the limited API lacks would be
    # an implicit declaration, and crash.
    flags = ["-std=c99", "-O2", "-g0", "-Werror=implicit-function-declaration"]
    flags += ["-fvisibility=hidden"]  # calls within the module are direct
    flags, link = [*flags, "-pthread"], ["-pthread"]

core = Extension(
    "lstmc._core",
    sources=["lstmc/_core.pyx", "lstmc/pool.c", *sources],
    include_dirs=["c_src", "lstmc"],
    depends=[*headers, "lstmc/pool.h"],
    define_macros=[("Py_LIMITED_API", hex(ABI))],
    extra_compile_args=flags,
    extra_link_args=link,
    py_limited_api=True,
)

setup(
    packages=[
        "lstmc",
        "lstmc.c_src",  # what `lstmc export` takes a firmware's files from
        "lstmc.c_src.kernels",
        "lstmc.c_src.layers",
        "lstmc.c_src.train",
        "lstmc.converters",
        "lstmc.export",
        "lstmc.graph",
        "lstmc.optimizers",
        "lstmc.layers",
        "lstmc.onnx_export",
        "lstmc.reference",
        "lstmc.report",
        "lstmc.scale",
        "lstmc.training",
    ],
    package_dir={"lstmc": "lstmc", "lstmc.c_src": "c_src", "lstmc.converters": "converters"},
    package_data={
        "lstmc": ["*.pyi", "py.typed"],
        "lstmc.export": ["code_sizes.json"],
        **{f"lstmc.c_src{part}": ["*.c", "*.h"] for part in ("", ".kernels", ".layers", ".train")},
    },
    ext_modules=cythonize([core], build_dir="build/cython"),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
