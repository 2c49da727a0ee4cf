"""Keras models to graphs: `.keras` archives, `.h5` files of Keras 2 and 3, live models.

All of them take one path: :mod:`.keras_file` opens the container, :mod:`.keras_config` checks the
config and makes a tree of it (:mod:`.keras_tree`, :mod:`.keras_calls`), :mod:`.keras_build` runs
its calls, and handlers turn each layer into layers of the graph. Keras itself is never imported; a
file needs h5py, a live model nothing.

To add a layer of Keras: a handler, and a row in the table of its module: :mod:`.keras_layers`,
:mod:`.keras_recurrent`, :mod:`.keras_steps` or :mod:`.keras_merge`; an operation of keras.ops:
:mod:`.keras_ops`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lstmc import graph as g
from lstmc.errors import ConversionError, FormatError

from . import (
    architecture,
    architecture_missing,
    keras_layers,
    keras_merge,
    keras_recurrent,
    keras_steps,
)
from .architecture_text import Arch
from .keras_build import Builder
from .keras_config import Parser
from .keras_file import Source, WeightsOnly, open_source
from .keras_groups import Groups
from .keras_ops import OPERATIONS
from .keras_tree import Kind
from .naming import name_outputs
from .simplify import simplify

# In the provenance of graphs; to be raised when the same source begins to give another graph.
CONVERTER = "from_keras 2"

LAYERS: dict[str, Kind] = {
    **keras_layers.LAYERS,
    **keras_recurrent.LAYERS,
    **keras_steps.LAYERS,
    **keras_merge.LAYERS,
}


def convert(source: Any, *, arch: Arch | None = None, **options: Any) -> g.Graph:
    """Convert a path (`.keras`, `.h5`) or a live keras.Sequential or functional keras.Model.

    arch: of a file that holds weights only: its architecture, see :mod:`architecture`.

    The graph keeps Keras's names of inputs (of the InputLayers) and outputs (of the layers that
    make them, as in model.output_names), or the keys where the model takes or gives dicts.
    FormatError if a file can't be read, ConversionError if lstmc can't represent what it holds.
    """
    if options:
        raise ConversionError(f"the Keras converter has no option '{min(options)}'")
    try:
        with open_source(source) as opened:
            if isinstance(opened, WeightsOnly):
                return _described(opened, Path(source), arch)
            if arch is not None:
                raise ConversionError(
                    "option arch is for files of weights only; this model has its own architecture"
                )
            return _convert(opened)
    except RecursionError as e:
        raise ConversionError("the model is nested too deeply to be converted") from e


def _described(source: WeightsOnly, path: Path, arch: Arch | None) -> g.Graph:
    """A file of weights, with the architecture that the user gives."""
    groups = Groups(source)
    if not list(groups):
        raise FormatError(f"'{path.name}' holds no weights")
    if arch is None and path.with_suffix(".toml").is_file():
        arch = path.with_suffix(".toml")
    if arch is None:
        raise architecture_missing.missing_of_groups(path.name, groups)
    graph = simplify(name_outputs(*architecture.build(arch, {}, groups)))
    graph.provenance = {
        "source": "keras",
        "file": path.name,
        **({"producer": f"keras {source.version}"} if source.version else {}),
        "converter": CONVERTER,
    }
    return graph


def _convert(source: Source) -> g.Graph:
    version = re.match(r"(\d)\.(\d{1,4})", source.version)
    assert version is not None  # keras_file has looked at it
    major, minor = int(version[1]), int(version[2])
    model = Parser(LAYERS, OPERATIONS, major, source.partitioned).parse(source.root)
    unused = source.unused(model)
    if unused:
        raise ConversionError(
            f"there are weights of '{unused[0]}', but no such layer in the model's config; "
            "save the model again"
        )
    graph = simplify(Builder(source, (major, minor)).build(model))
    graph.provenance = {
        "source": "keras",
        **({"file": source.file} if source.file else {}),
        "producer": f"keras {source.version}",
        "converter": CONVERTER,
    }
    graph.infer()
    return graph
