"""lstmc as a backend of ONNX, so that ONNX's own runner drives it (``onnx.backend.base``).

    import lstmc.onnx_backend as backend
    from onnx.backend.test import BackendTest

    tests = BackendTest(backend, __name__)           # ONNX's conformance tests
    (y,) = backend.run_model(model, [x])             # or one model, run once

ONNX's tests give weights as inputs of a model, where lstmc needs them to be constant. So a model is
converted when it is first run: with all its inputs as inputs if that can be; else with one of them,
the first that will do, and the others bound to the arrays given. A conversion is kept, and made
again when one of the bound arrays differs.

What lstmc can't represent raises ``BackendIsNotSupposedToImplementIt``, which the runner takes for
a test that doesn't concern this backend: from :func:`prepare` where an operator is unknown, from
``run`` where conversion refuses the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper
from onnx.backend.base import Backend as OnnxBackend
from onnx.backend.base import BackendRep, Device, DeviceType, namedtupledict
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt
from onnx.defs import onnx_opset_version

from .converters.onnx_file import DOMAINS
from .converters.onnx_ops import HANDLERS
from .errors import ConversionError, Error, RangeError
from .model import Model, convert

__all__ = [
    "Backend", "Prepared", "is_compatible", "prepare", "run_model", "run_node", "supports_device",
]  # fmt: skip

OPERATORS = {*HANDLERS, "Constant", "If"}


def refused(error: Exception) -> BackendIsNotSupposedToImplementIt:
    return BackendIsNotSupposedToImplementIt(f"lstmc: {error}")


class Prepared(BackendRep):
    """A model that is converted when it is run."""

    def __init__(self, model: ModelProto) -> None:
        self.proto = model
        stored = {t.name for t in model.graph.initializer}
        self.inputs = [v.name for v in model.graph.input if v.name not in stored]
        self.outputs = [v.name for v in model.graph.output]
        self.types = {  # float16 comes from float32, rounded
            v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)
            for v in model.graph.output
            if v.type.tensor_type.elem_type
        }
        self.bound: dict[str, np.ndarray] = {}
        self.model: Model | None = None

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """The outputs in their order, as a named tuple.

        inputs: arrays in the order of the model's inputs, a dict by name, or one array.

        Raises BackendIsNotSupposedToImplementIt if lstmc can't represent the model, or takes no
        such inputs (sequences, empty ones, negative indices); and the errors of
        :meth:`lstmc.Model.predict` for inputs that don't fit.
        """
        if any(not v.type.HasField("tensor_type") for v in self.proto.graph.input):
            raise refused(ConversionError("an input is a sequence or optional"))
        arrays = self.named(inputs)
        if any(a.size == 0 for a in arrays.values()):
            raise refused(ConversionError("an input is empty"))
        model = self.converted(arrays)
        try:
            found = model.predict({name: arrays[name] for name in model.inputs})
        except RangeError as e:  # negative indices, which ONNX counts from the end
            raise refused(e) from e
        by_name = found if isinstance(found, dict) else {self.outputs[0]: found}
        typed = (by_name[n].astype(self.types.get(n, np.float32), copy=False) for n in self.outputs)
        return namedtupledict("Outputs", self.outputs)(*typed)

    def named(self, inputs: Any) -> dict[str, np.ndarray]:
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        if not isinstance(inputs, Mapping):
            if len(inputs) != len(self.inputs):
                raise ValueError(f"got {len(inputs)} inputs, expected {self.inputs}")
            inputs = dict(zip(self.inputs, inputs, strict=True))
        return {name: np.asarray(a) for name, a in inputs.items()}

    def converted(self, arrays: Mapping[str, np.ndarray]) -> Model:
        """The model, converted with as few inputs bound as will do."""
        kept = self.model is not None and all(
            np.array_equal(a, arrays[name]) for name, a in self.bound.items()
        )
        if kept and self.model is not None:
            return self.model
        first: Exception | None = None
        for free in [self.inputs, *([name] for name in self.inputs)]:
            bound = {name: arrays[name] for name in self.inputs if name not in free}
            try:
                self.model, self.bound = convert(self.proto, constants=bound), bound
                return self.model
            except (Error, NotImplementedError) as e:
                first = first or e
        raise refused(first or ConversionError("the model has no inputs"))


class Backend(OnnxBackend):
    """The functions of this module as the class that ``onnx.backend.base`` describes."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **options: Any) -> bool:
        """Whether every operator is known, and nothing but operators is used."""
        return not unknown(model) and cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **options: Any) -> Prepared:
        """A model to run, of which :meth:`Prepared.run` says whether lstmc can represent it.

        Raises BackendIsNotSupposedToImplementIt for unknown operators and devices other than CPU.
        """
        if not cls.supports_device(device):
            raise refused(ConversionError(f"device {device} is not supported, CPU is"))
        if names := unknown(model):
            raise refused(ConversionError(f"operator {names[0]} is not supported"))
        return Prepared(model)

    @classmethod
    def run_model(
        cls, model: ModelProto, inputs: Any, device: str = "CPU", **options: Any
    ) -> tuple[Any, ...]:
        """Prepare and run once."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **options: Any,
    ) -> tuple[Any, ...]:
        """Run one operator on arrays, in the order of its inputs.

        options: ``opset_version``, the newest if not given.
        """
        names = [n for n in node.input if n]
        arrays = [np.asarray(a) for a in inputs]
        types = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in arrays]
        values: list[ValueInfoProto] = [
            helper.make_tensor_value_info(n, t, a.shape)
            for n, t, a in zip(names, types, arrays, strict=True)
        ]
        outputs = [
            helper.make_tensor_value_info(n, types[0] if types else 1, None)
            for n in node.output
            if n
        ]
        opset = helper.make_opsetid("", options.get("opset_version", onnx_opset_version()))
        graph = helper.make_graph([node], "node", values, outputs)
        model = helper.make_model(graph, opset_imports=[opset])
        return cls.run_model(model, arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether the device is the CPU."""
        return Device(device).type == DeviceType.CPU


def unknown(model: ModelProto) -> list[str]:
    """The operators that lstmc doesn't know."""
    functions = {(f.domain, f.name) for f in model.functions}
    return [
        node.op_type
        for node in model.graph.node
        if node.domain not in DOMAINS
        or node.op_type not in OPERATORS
        or (node.domain, node.op_type) in functions
    ]


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
