"""Converters: trained models of other frameworks to an :class:`lstmc.graph.Graph`.

Each converter is one module with a function ``convert(source, **options) -> Graph`` and one row in
:data:`CONVERTERS`. A converter is exact or raises :class:`lstmc.errors.ConversionError`, naming the
layer, the option and what to do; it never guesses. Frameworks are imported inside functions only,
nothing here imports the C core, and no file is ever unpickled by Python's own pickle.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstmc.errors import ConversionError
from lstmc.graph import Graph

from .clocks import settle


@dataclass(frozen=True)
class Converter:
    """How to recognise a source: by file suffix, or by the type of a live object.

    ``types`` are "package:Class" for any class of the object's method resolution order; the
    package is the first part of the class's module, so that nothing has to be imported to compare.
    """

    module: str
    suffixes: tuple[str, ...]
    types: tuple[str, ...]


CONVERTERS = (
    Converter("from_keras", (".keras", ".h5", ".hdf5"), ("keras:Model", "keras:Layer")),
    Converter("from_pytorch", (".pt", ".pth", ".safetensors"), ("torch:Module",)),
    Converter("from_onnx", (".onnx",), ("onnx:ModelProto",)),
)


def find(source: Any) -> Converter:
    """The converter for a path or a live object; ConversionError if there is none."""
    if isinstance(source, (str, os.PathLike)):
        suffix = Path(source).suffix.lower()
        for c in CONVERTERS:
            if suffix in c.suffixes:
                return c
        if suffix == ".lstmc":
            raise ConversionError(
                f"'{os.fspath(source)}' is converted already: lstmc.load reads it, and "
                "`lstmc convert --target CHIP` packs it for a chip, `lstmc convert -o OUT.onnx` "
                "writes it as ONNX; give the model that it was made from"
            )
        known = ", ".join(s for c in CONVERTERS for s in c.suffixes)
        raise ConversionError(
            f"can't tell what '{os.fspath(source)}' is by its ending; known endings: {known}"
        )
    names = {f"{k.__module__.partition('.')[0]}:{k.__name__}" for k in type(source).__mro__}
    for c in CONVERTERS:
        if names & set(c.types):
            return c
    raise ConversionError(
        f"can't convert an object of type {type(source).__module__}.{type(source).__qualname__}; "
        "give a path, a keras.Model, a torch.nn.Module or an onnx.ModelProto"
    )


def convert(source: Any, **options: Any) -> Graph:
    """Convert a path or live object to a checked graph.

    Options are the converter's own (see each module); one it doesn't know is a ConversionError.
    ``state`` is for all: which outputs are the inputs of the next call (:mod:`.state`).
    A path that doesn't exist is a FileNotFoundError, as everywhere in Python.
    """
    state = options.pop("state", None)
    converter = find(source)
    if isinstance(source, (str, os.PathLike)) and not Path(source).exists():
        raise FileNotFoundError(f"no such file: '{os.fspath(source)}'")
    module = importlib.import_module(f"{__name__}.{converter.module}")
    graph = module.convert(source, **options)
    settle(graph)
    if state is not None:
        from .state import bind

        graph = bind(graph, state)
    return graph
