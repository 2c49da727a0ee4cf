"""Where a model meets the outside: its inputs, its outputs, what nodes hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME

from .onnx_branches import fix
from .onnx_file import reason, to_array
from .onnx_values import GIVEN, Dim, Kind, Node, Refused, Tracked, axis_size

Labels = dict[tuple[str, int], str]  # what an axis of an input is known to be


def tracked_input(value: Any, known: Labels) -> Kind:
    """An input as its declaration has it; dims get their meaning from what reads them."""
    import onnx

    kind = value.type.WhichOneof("value")
    tensor = value.type.tensor_type
    types = onnx.TensorProto.DataType
    numbers = tensor.elem_type in types.values()
    dtype = types.Name(tensor.elem_type).lower() if numbers else f"type {tensor.elem_type}"
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    if kind != "tensor_type":
        text = f"input '{value.name}' is of {kind or 'no type'}, only tensors are supported"
    elif dtype not in g.DTYPES:
        text = (
            f"input '{value.name}' is {dtype}; supported are {', '.join(g.DTYPES)}; a fixed value "
            f"{GIVEN}"
        )
    elif not tensor.shape.dim:  # of no shape at all the checker has not let it come here
        text = f"input '{value.name}' is one number without axes; {fix(value.name)}"
    else:
        dims = []
        for i, d in enumerate(tensor.shape.dim):
            size = d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            source = (value.name, i)
            dims.append(Dim(size, known.get(source), source=source, called=d.dim_param))
        for dim in dims:
            dim.family = tuple(dims)
        return Tracked(value.name, tuple((d,) for d in dims), tuple(dims), dtype)
    return Refused(ConversionError(text))


def bound(value: Any, array: Any) -> np.ndarray:
    """A user's constant as an array of the input's dtype and shape."""
    import onnx

    where = f"constants: '{value.name}'"
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        given = np.asarray(array)
        with np.errstate(all="ignore"):
            result = given.astype(dtype)
    except Exception as e:  # no such type, or an array that is none
        raise ConversionError(f"{where} can't be made an array: {reason(e)}") from e
    if not np.array_equal(result, given, equal_nan=given.dtype.kind == "f"):
        raise ConversionError(f"{where} is {given.dtype} with values that {dtype} can't hold")
    if tensor.HasField("shape"):
        sizes = [d.dim_value if d.HasField("dim_value") else 0 for d in tensor.shape.dim]
        fits = zip(sizes, result.shape, strict=False)
        if len(sizes) != result.ndim or any(n > 0 and n != m for n, m in fits):
            shape = [n if n > 0 else None for n in sizes]
            raise ConversionError(f"{where} has shape {list(result.shape)}, expected {shape}")
    return result


def layout(where: str, name: str, x: Tracked) -> g.Value:
    """The value of an input or output, from the labels of its axes."""
    axes: list[g.Axis] = []
    time = None
    for axis in x.axes:
        labels = {d.label for d in axis}
        if labels & {BATCH, TIME}:
            if len(axis) != 1:
                raise ConversionError(
                    f"{where}: one of its axes is a product of {' and '.join(map(str, labels))}; "
                    "reshape it back in the model"
                )
            axes.append(str(axis[0].label))
            time = axis[0].size if axis[0].label == TIME else time
        else:
            size = axis_size(axis)
            if size is None:
                raise ConversionError(f"{where}: its number of features is left open")
            axes.append(size)
    if not axes:
        raise ConversionError(f"{where} has no axes; Reshape it to [1] in the model")
    return g.Value(name, tuple(axes), x.dtype, time)


def all_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def attributes(node: Node, proto: Any) -> dict[str, Any]:
    """A node's attributes as Python values: text as str, tensors as arrays."""
    import onnx

    found: dict[str, Any] = {}
    for attribute in proto.attribute:
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as e:
            raise node.error(f"attribute {attribute.name}: {reason(e)}") from e
        if isinstance(value, bytes):
            value = value.decode()
        elif isinstance(value, onnx.TensorProto):
            value = to_array(value, f"{node.name}, attribute {attribute.name}")
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [v.decode() for v in value]
        elif attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            value = list(value)
        found[attribute.name] = value
    return found


def constant(node: Node) -> np.ndarray:
    """Constant-1 to -25: exactly one attribute holds the value."""
    dtypes = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}
    (name, value), *rest = node.attrs.items() or [("", None)]
    if rest or (name != "value" and name not in dtypes):
        raise node.error(f"attribute {name or 'value'} is not supported for constants")
    return np.asarray(value, dtype=dtypes.get(name))
