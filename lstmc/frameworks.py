"""A source run in its own framework, which lstmc is then held against: ONNX Runtime, Keras, and
torch for TorchScript programs. A framework loads the file as it always does; TorchScript is code,
so only a file that may run on this machine should be given."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import graph as g
from .arrays import Arrays

KINDS = {
    f"tensor({name})": dtype
    for name, dtype in (
        ("int64", np.int64), ("int32", np.int32), ("int16", np.int16), ("int8", np.int8),
        ("uint8", np.uint8), ("bool", np.bool_), ("float16", np.float16), ("double", np.float64),
    )
}  # fmt: skip


class Framework:
    """A model of a framework. ``label`` says which; all methods raise whatever it raises."""

    label: str

    def run(self, x: Arrays) -> Arrays:
        """The outputs by the graph's names, for inputs by the graph's names."""
        raise NotImplementedError

    def inner(self, tensors: Sequence[str], x: Arrays) -> Arrays:
        """Tensors inside, by their names in ``Graph.origins``; those that it can't give left out.

        What it computes here may be fused in other ways than in :meth:`run`."""
        return {}


def of_source(path: Path, graph: g.Graph, options: Mapping[str, Any]) -> Framework | None:
    """The source's own framework with the source loaded, None if there is no code to run.

    Raises ImportError if it is not installed, and what it raises for a file it can't load.
    """
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return OnnxRuntime(path, options.get("constants") or {})
    if suffix in (".keras", ".h5", ".hdf5"):
        return Keras(path, graph)
    if is_torchscript(path):
        return TorchScript(path, graph)
    return None


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript program: a zip file with code, which a state_dict has not."""
    if path.suffix.lower() not in (".pt", ".pth"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(n.endswith("/constants.pkl") for n in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


class OnnxRuntime(Framework):
    def __init__(self, path: Path, constants: Mapping[str, Any]) -> None:
        import onnxruntime

        self.label = f"onnxruntime {onnxruntime.__version__}"
        self.path = path
        self.session = self._session(os.fspath(path))
        self.dtypes = {i.name: KINDS.get(i.type, np.float32) for i in self.session.get_inputs()}
        self.fixed = {
            n: np.asarray(a).astype(self.dtypes[n])
            for n, a in constants.items()
            if n in self.dtypes
        }
        self.names = [o.name for o in self.session.get_outputs()]

    def run(self, x: Arrays) -> Arrays:
        return self._call(self.session, self.names, x)

    def inner(self, tensors: Sequence[str], x: Arrays) -> Arrays:
        import onnx

        model = onnx.load(self.path)
        made = {n for node in model.graph.node for n in node.output}
        given = {v.name for v in model.graph.output}
        wanted = [n for n in tensors if n in made]
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted if n not in given)
        return self._call(self._session(model.SerializeToString()), wanted, x)

    @staticmethod
    def _session(model: str | bytes) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])

    def _call(self, session: Any, names: list[str], x: Arrays) -> Arrays:
        given = {n: a.astype(self.dtypes[n]) for n, a in x.items()}
        return dict(zip(names, session.run(names, {**given, **self.fixed}), strict=True))


class Keras(Framework):
    def __init__(self, path: Path, graph: g.Graph) -> None:
        import importlib.util

        if "KERAS_BACKEND" not in os.environ:
            for backend, module in (("tensorflow",) * 2, ("torch",) * 2, ("jax",) * 2):
                if importlib.util.find_spec(module):
                    os.environ["KERAS_BACKEND"] = backend
                    break
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        self.keras, self.graph = keras, graph
        self.label = f"keras {keras.__version__} on {keras.backend.backend()}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = keras.models.load_model(path, compile=False, safe_mode=True)

    def run(self, x: Arrays) -> Arrays:
        y = self._call(self.model, x)
        if not isinstance(y, dict):
            found = self.keras.tree.flatten(y)
            y = {v.name: a for v, a in zip(self.graph.outputs, found, strict=True)}
        return {name: self.keras.ops.convert_to_numpy(a) for name, a in y.items()}

    def inner(self, tensors: Sequence[str], x: Arrays) -> Arrays:
        made = {x.name: x for x in getattr(self.model, "operations", self.model.layers)}
        found = {}
        for tensor in tensors:
            layer, _, place = tensor.rpartition(":")
            try:
                found[tensor] = self.keras.tree.flatten(made[layer].output)[int(place)]
            except (KeyError, ValueError, AttributeError, IndexError):  # a layer called twice
                continue
        if not found:
            return {}
        part = self.keras.Model(self.model.inputs, list(found.values()))
        values = self.keras.tree.flatten(self._call(part, x))
        arrays = [self.keras.ops.convert_to_numpy(a) for a in values]
        return dict(zip(found, arrays, strict=True))

    def _call(self, model: Any, x: Arrays) -> Any:
        """From zero state, as predict."""
        for layer in self.model._flatten_layers():
            if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
                layer.reset_state()
        inputs = zip(self.model.inputs, self.graph.inputs, strict=True)
        given = [x[t.name] if t.name in x else x[v.name] for t, v in inputs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model(given[0] if len(given) == 1 else given, training=False)


class TorchScript(Framework):
    """Inputs go by the names of forward's arguments if they are the graph's, else in order."""

    def __init__(self, path: Path, graph: g.Graph) -> None:
        import torch

        self.torch, self.graph = torch, graph
        self.label = f"torch {torch.__version__}, TorchScript"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = torch.jit.load(os.fspath(path), map_location="cpu").eval()
        self.arguments = [a.name for a in self.model.forward.schema.arguments[1:]]

    def run(self, x: Arrays) -> Arrays:
        tensors = {
            v.name: self.torch.from_numpy(np.array(x[v.name], v.dtype)) for v in self.graph.inputs
        }
        with self.torch.no_grad():
            if set(tensors) <= set(self.arguments):
                y = self.model(**tensors)
            else:
                y = self.model(*tensors.values())
        if isinstance(y, dict):
            return {n: a.numpy() for n, a in y.items()}
        found = list(_flat(y))
        return {v.name: a.numpy() for v, a in zip(self.graph.outputs, found, strict=True)}


def _flat(value: Any) -> Any:
    if isinstance(value, tuple | list):
        for v in value:
            yield from _flat(v)
    else:
        yield value
