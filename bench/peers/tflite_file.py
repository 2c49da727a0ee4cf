"""A writer of .tflite files: tensors, operators, one subgraph."""

from __future__ import annotations

from typing import Any

import numpy as np


class Writer:
    """Builds one graph. Tensors are known by their index; None as an input is one not given."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated

        self.schema: Any = schema_py_generated
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [self.schema.BufferT()]  # the first is empty by rule
        self._operators: list[Any] = []
        self._codes: list[tuple[int, int]] = []
        self._constants: dict[int, int] = {}

    def tensor(self, *shape: int, variable: bool = False) -> int:
        """A float32 tensor that is computed, given from outside, or kept between calls."""
        return self._tensor(shape, 0, self.schema.TensorType.FLOAT32, variable)

    def constant(self, array: np.ndarray) -> int:
        """A float32 or int32 tensor with its values; one tensor for one array, however often."""
        if id(array) not in self._constants:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            self._buffers.append(buffer)
            types = self.schema.TensorType
            kind = types.FLOAT32 if array.dtype == np.float32 else types.INT32
            index = self._tensor(array.shape, len(self._buffers) - 1, kind, False)
            self._constants[id(array)] = index
            self._tensors[index].array = array  # keeps the id from being used again
        return self._constants[id(array)]

    def _tensor(self, shape: tuple[int, ...], buffer: int, kind: int, variable: bool) -> int:
        made = self.schema.TensorT()
        made.shape, made.type, made.buffer = list(shape), kind, buffer
        made.isVariable, made.hasRank = variable, True
        made.name = f"t{len(self._tensors)}".encode()
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(
        self,
        name: str,
        inputs: list[int | None],
        outputs: list[int],
        options: str = "",
        version: int = 1,
        **values: Any,
    ) -> int:
        """Append an operator (the schema's name); options names its table. The first output."""
        code = getattr(self.schema.BuiltinOperator, name), version
        if code not in self._codes:
            self._codes.append(code)
        made = self.schema.OperatorT()
        made.opcodeIndex = self._codes.index(code)
        made.inputs = [-1 if i is None else i for i in inputs]
        made.outputs = outputs
        if options:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, options)
            made.builtinOptions = getattr(self.schema, options + "T")()
            for key, value in values.items():
                if not hasattr(made.builtinOptions, key):
                    raise AttributeError(f"{options} has no {key}")
                setattr(made.builtinOptions, key, value)
        self._operators.append(made)
        return outputs[0]

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        import flatbuffers

        graph = self.schema.SubGraphT()
        graph.tensors, graph.operators, graph.name = self._tensors, self._operators, b"main"
        graph.inputs, graph.outputs = inputs, outputs
        model = self.schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self._buffers
        model.operatorCodes = []
        for code, version in self._codes:
            made = self.schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode = code, min(code, 127)
            made.version = version
            model.operatorCodes.append(made)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
