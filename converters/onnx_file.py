"""Reading and checking ONNX files: whatever the bytes are, a valid model or a precise error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lstmc.errors import ConversionError, FormatError

OLDEST = 7  # broadcasting as numpy's, and LSTM as it still is, begin here
DOMAINS = ("", "ai.onnx")  # two spellings of the default domain


def reason(error: Exception) -> str:
    """An exception of a library as one line."""
    line = " ".join(str(error).split())
    return line if len(line) <= 300 else line[:297] + "..."


def read(path: Path) -> Any:
    """Parse a file and load its external data."""
    import onnx

    if path.is_dir():
        raise FormatError(f"'{path}' is a folder, not an ONNX file")
    data = path.read_bytes()
    if not data:
        raise FormatError(f"'{path}' is empty")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as e:  # protobuf's own class, in another module in each version
        raise FormatError(f"'{path}' is not an ONNX file, or is damaged: {reason(e)}") from e
    tensors = external(model)
    for tensor in tensors:
        check_external(tensor, path.parent)
    if tensors:
        try:
            onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
        except Exception as e:  # ValueError, OSError, or a class of onnx's C++ part
            raise ConversionError(f"external data of '{path}' can't be read: {reason(e)}") from e
    return model


def bodies(node: Any) -> list[Any]:
    """The graphs that a node holds."""
    found = []
    for a in node.attribute:
        found += ([a.g] if a.HasField("g") else []) + list(a.graphs)
    return found


def external(model: Any) -> list[Any]:
    """The tensors of a model that are stored in other files."""
    tensors = []
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        tensors += list(graph.initializer)
        for node in graph.node:
            tensors += [a.t for a in node.attribute if a.HasField("t")]
            graphs += bodies(node)
    return [t for t in tensors if t.data_location == t.EXTERNAL]


def check_external(tensor: Any, folder: Path) -> None:
    """Refuse a location outside the folder (onnx before 1.17 didn't always), or a missing file."""
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    where = f"initializer '{tensor.name}': its external data file '{location}'"
    file = folder / location
    if not location or "\0" in location or Path(location).is_absolute():
        raise ConversionError(f"{where} must be named relative to the model's folder")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ConversionError(f"{where} lies outside the model's folder, which is not allowed")
    if not file.is_file():
        raise ConversionError(f"{where} is missing; keep it beside the model")


def check(model: Any, what: str) -> None:
    """FormatError unless this is a whole, valid model; ConversionError for its opset."""
    import onnx

    if not model.ir_version or not model.HasField("graph"):
        raise FormatError(f"{what} is not an ONNX model, or is truncated: it holds no graph")
    newest = onnx.defs.onnx_opset_version()
    opset = opset_of(model)
    if opset > newest:
        raise ConversionError(
            f"{what} uses opset {opset}; onnx {onnx.__version__} knows up to {newest}: update onnx"
        )
    if opset < OLDEST:
        raise ConversionError(
            f"{what} uses opset {opset}, lstmc reads {OLDEST} and newer; bring it up to date with "
            "onnx.version_converter.convert_version"
        )
    tensors = external(model)
    if tensors:
        raise ConversionError(
            f"initializer '{tensors[0].name}' is stored in another file; give the model's path, or "
            "load it with onnx.load(path)"
        )
    try:
        onnx.checker.check_model(with_shapes(model))
    except Exception as e:  # ValidationError, and others where the checker meets nonsense
        raise FormatError(f"{what} is not a valid ONNX model: {reason(e)}") from e


def with_shapes(model: Any) -> Any:
    """The model, or a copy whose outputs all declare a shape.

    onnx's checker insists on one, ONNX Runtime and the exporters that leave it out don't. It only
    looks whether there is one.
    """

    def bare(outputs: Any) -> list[Any]:
        tensors = [v.type.tensor_type for v in outputs if v.type.HasField("tensor_type")]
        return [t for t in tensors if not t.HasField("shape")]

    if not bare(model.graph.output):
        return model
    copy = type(model)()
    copy.CopyFrom(model)
    for tensor in bare(copy.graph.output):
        tensor.shape.SetInParent()
    return copy


def opset_of(model: Any) -> int:
    versions = [o.version for o in model.opset_import if o.domain in DOMAINS]
    if not versions:
        raise ConversionError("the model imports no opset of the default domain 'ai.onnx'")
    return max(versions)


def to_array(tensor: Any, name: str) -> np.ndarray:
    import onnx

    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as e:  # sizes that don't fit the data, unknown types
        raise FormatError(f"initializer '{name}' is damaged: {reason(e)}") from e
