"""Models go back out: a :class:`lstmc.graph.Graph` as a plain ONNX model.

Every layer becomes operators of ONNX's own domain, so that any runtime can run it; LSTM, GRU and
RNN the operators of that name, or, where an option of theirs is not among those, a Scan.

    writer.py      nodes and tensors       interface.py   inputs and outputs
    registry.py    one function a layer    functions.py   elementwise functions
    pointwise.py sequence.py windows.py recurrent.py scan.py

Arrows: this package knows the graph and, of the converters, only their gate orders.
"""

from __future__ import annotations

from typing import Any

from .. import graph as g
from ..errors import ConversionError
from .interface import give, info, ports, take
from .registry import LAYERS
from .writer import IR_VERSION, OPSET, Writer

LARGEST = 2**31 - 1  # bytes of a protobuf message


def to_onnx(graph: g.Graph) -> Any:
    """An ``onnx.ModelProto``, checked by onnx; its inputs and outputs are those of the source.

    Raises:
        ConversionError: onnx is not installed, or the model can't be said in ONNX.
    """
    try:
        import onnx
    except ImportError as e:
        raise ConversionError("writing ONNX needs the package onnx: pip install lstmc[onnx]") from e
    from .. import __version__

    specs = graph.infer()
    takes, gives = ports(graph, specs)
    for port in (*takes, *gives):
        if not port.name:  # which means "absent" there
            raise ConversionError("an input or output has no name, which ONNX needs")
    w = Writer(specs, {p.name for p in (*takes, *gives)}, graph.one_row)
    masks = {x.outputs[0]: x.inputs[0] for x in graph.layers if isinstance(x, g.StepMask)}
    w.lengths = {str(mask): str(n) for mask, n in masks.items()}
    for port in takes:
        w.layer = port.name
        take(w, port)
    for layer in graph.layers:
        w.layer = layer.name
        LAYERS[type(layer)](w, layer)
    names = {}
    for port in gives:
        w.layer = port.name
        made = give(w, port)
        if made in names or made in w.constants or made in {p.name for p in takes}:
            made = w.node("Identity", made)
        names[made] = port.name
    w.rename(names)
    w.prune({p.name for p in gives})
    made_graph = onnx.helper.make_graph(
        w.nodes,
        "lstmc",
        [info(p, graph.one_row) for p in takes],
        [info(p, graph.one_row) for p in gives],
        [onnx.numpy_helper.from_array(a, n) for n, a in w.constants.items()],
    )
    model = onnx.helper.make_model(
        made_graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lstmc",
        producer_version=__version__,
    )
    size = model.ByteSize()
    if size > LARGEST:
        raise ConversionError(f"the model takes {size:,} bytes, an ONNX file {LARGEST:,} at most")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ConversionError(f"onnx refuses what was written: {' '.join(str(e).split())}") from e
    return model


def to_bytes(graph: g.Graph) -> bytes:
    """The bytes of an .onnx file; errors as :func:`to_onnx`."""
    return bytes(to_onnx(graph).SerializeToString())


__all__ = ["to_bytes", "to_onnx"]
