"""PyTorch: live torch.nn.Module, and state_dict files (.pt, .pth, .safetensors).

``convert(module)`` follows forward with torch.fx; see :mod:`torch_trace` for how and
:mod:`torch_ops` for all that is understood. A module in training mode is converted as in evaluation
mode (dropout does nothing) and left as it was. Arguments of forward that have a default keep it.

``convert(path, arch=...)`` reads weights without torch and without running anything in the file;
see :mod:`torch_file`, :mod:`safetensors_file`. A state_dict has no architecture:
:mod:`architecture` says how to give it.

What is exact: weights are float32 as stored; float16 and bfloat16 are widened, which changes no
value; float64 is refused unless every value is a float32. b_ih + b_hh is summed in float32.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lstmc
from lstmc import graph as g
from lstmc.errors import ConversionError, FormatError

from . import architecture, architecture_missing, safetensors_file, torch_file
from .architecture_text import Arch
from .naming import name_outputs
from .simplify import simplify


def convert(
    source: Any,
    *,
    arch: Arch | None = None,
    example: Any = None,
    outputs: Sequence[str] | None = None,
    **unknown: Any,
) -> g.Graph:
    """A live module or a state_dict file as a graph; ConversionError if it can't be exact.

    arch: of a file only: its architecture, see :mod:`architecture`.
    example: of a live module only: an array forward takes (a tuple or dict of them for several
        inputs), where the number of features or axes doesn't follow from the module.
    outputs: of a live module only: names of the outputs wanted, all if None.
    """
    if unknown:
        raise ConversionError(
            f"unknown options for a PyTorch source: {', '.join(unknown)}; "
            "known: arch, example, outputs"
        )
    if isinstance(source, (str, os.PathLike)):
        if example is not None or outputs is not None:
            raise ConversionError("options example and outputs are for live modules, not for files")
        graph = _convert_file(Path(source), arch)
    else:
        if arch is not None:
            raise ConversionError("option arch is for state_dict files; a live module has its own")
        graph = _convert_module(source, example, outputs)
    graph.provenance["source"] = "pytorch"
    version = getattr(lstmc, "__version__", None)
    graph.provenance["converter"] = f"lstmc {version}" if version else "lstmc"
    return simplify(graph)


def _convert_file(path: Path, arch: Arch | None) -> g.Graph:
    tensors: architecture.Tensors
    if path.suffix.lower() == ".safetensors":
        tensors = safetensors_file.read(path)
    else:
        tensors = torch_file.read(path)
    if not any(tensors.values()):
        raise FormatError(f"'{path.name}' holds no tensors")
    if arch is None and path.with_suffix(".toml").is_file():
        arch = path.with_suffix(".toml")
    if arch is None:
        raise architecture_missing.missing(path.name, tensors)
    graph = name_outputs(*architecture.build(arch, tensors))
    graph.provenance["file"] = path.name
    return graph


def _convert_module(module: Any, example: Any, outputs: Sequence[str] | None) -> g.Graph:
    from . import torch_trace  # imports torch

    inputs, results, layers = torch_trace.convert(module, example)
    if outputs is not None:
        missing = [n for n in outputs if n not in results]
        if missing or not outputs or isinstance(outputs, str):
            raise ConversionError(f"outputs={outputs!r}: the module has {', '.join(results)}")
        results = {n: results[n] for n in outputs}
    for result in results.values():
        if isinstance(result, ConversionError):
            raise result
    graph = name_outputs(inputs, results, layers)
    read = {n for layer in simplify(graph).layers for n in layer.inputs}
    for v in inputs:
        if v.name not in read:
            raise ConversionError(f"input '{v.name}' has no effect on the outputs")
    graph.provenance["producer"] = f"torch {sys.modules['torch'].__version__}"
    return graph
