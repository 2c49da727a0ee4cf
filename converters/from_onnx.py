"""ONNX models (opset 7 and newer) to graphs.

This module walks the nodes in order and names inputs and outputs. onnx itself parses, checks and
evaluates what is constant. Source: https://onnx.ai/onnx/repo-docs/IR.html.

    onnx_file.py    reads and checks files      onnx_recurrent.py  LSTM, GRU, RNN
    onnx_fold.py    constant expressions        onnx_functions.py  activation functions
    onnx_values.py  what a tensor can be        onnx_matrix.py     MatMul, Gemm
    onnx_axes.py    what its axes mean          onnx_pointwise.py  arithmetic, norms, reductions
    onnx_edges.py   inputs and outputs          onnx_conv.py       convolution, pooling
    onnx_layers.py  builder, forms of values    onnx_parts.py      Slice, Gather, Split
    onnx_broadcast.py  operands of a form       onnx_moves.py      Concat, Expand, Tile, Pad
    onnx_ops.py     the registry of operators   onnx_shapes.py     axes renamed; shapes
    onnx_origins.py which tensor a value is
    onnx_half.py    float16                     onnx_quantised.py  integer weights
    onnx_scopes.py  graphs within graphs        onnx_branches.py   If
    onnx_windows.py axes and fields of windows  onnx_transposed.py ConvTranspose
    onnx_sizes.py   what computes with sizes    onnx_one_step.py   one step of many rows
    onnx_loops.py   Loop, Scan; with onnx_steps.py, onnx_loop_parts.py, onnx_loop_layers.py
    onnx_terms.py   what a step computes        onnx_cells.py      which cells that is
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lstmc
from lstmc import graph as g
from lstmc.errors import ConversionError, FormatError
from lstmc.graph import BATCH, TIME

from . import onnx_branches, onnx_ops, onnx_scopes, onnx_shapes
from .clocks import own_clocks, settle
from .onnx_axes import (
    NEITHER,
    PREFERENCES,
    LabelConflict,
    Preference,
    bare,
    guess_input,
    not_batch,
)
from .onnx_branches import VALUE, Again, Branches, Decisions
from .onnx_edges import Labels, attributes, bound, layout, tracked_input
from .onnx_file import DOMAINS, check, opset_of, read
from .onnx_fold import Folder
from .onnx_half import is_half, widened
from .onnx_layers import Builder, in_order, steps_as_features
from .onnx_origins import origins
from .onnx_scopes import Scopes
from .onnx_values import (
    FEATURES,
    Const,
    Inner,
    Kind,
    Node,
    Refused,
    Sizes,
    Tracked,
)
from .simplify import readers, simplify

PRODUCT = "one of its axes is a product of the batch and others; reshape it back in the model"


def convert(source: Any, *, constants: Mapping[str, Any] | None = None, **unknown: Any) -> g.Graph:
    """A path or an onnx.ModelProto as a graph; ConversionError if it can't be exact.

    constants: arrays for inputs of the model that are to be fixed, by name, such as weights that
        a test model takes as inputs, or a sampling rate. They are no inputs of the graph then.

    FormatError if the file is not a valid ONNX model. External data is read from files in the
    model's own folder only.
    """
    if unknown:
        raise ConversionError(
            f"option '{sorted(unknown)[0]}' is not known for ONNX models; known: constants"
        )
    try:
        import onnx
    except ImportError as e:
        raise ConversionError("ONNX models need the package onnx: pip install lstmc[onnx]") from e

    path = Path(source) if isinstance(source, (str, os.PathLike)) else None
    if path is None and not isinstance(source, onnx.ModelProto):
        raise ConversionError(f"expected a path or an onnx.ModelProto, got {type(source).__name__}")
    what = "the ModelProto" if path is None else f"'{path}'"
    try:
        model = source if path is None else read(path)
        check(model, what)
        graph = best(model, constants or {})
    except UnicodeDecodeError as e:  # names are read when they are needed, not when parsing
        raise FormatError(f"{what} is not a valid ONNX model: a name is not UTF-8") from e
    if path is not None:
        graph.provenance["file"] = path.name
    return graph


def best(model: Any, constants: Mapping[str, Any]) -> g.Graph:
    """The model under the first reading of its inputs' axes that lstmc can represent.

    Any reading gives the same results. Where one fails that was a guess, the next is tried; the
    first error is the one to show.
    """
    first: ConversionError | None = None
    guessed = False
    decisions = Decisions()
    for preference in PREFERENCES:
        known: Labels = {}
        while True:
            conversion = Conversion(model, constants, known, preference, decisions)
            try:
                graph = conversion.graph()
                settle(graph)
                return graph
            except Again:
                continue
            except LabelConflict as e:
                guessed = True
                others = [label for (name, _), label in known.items() if name == e.source[0]]
                label = e.label
                if label == TIME and label in others:
                    label = FEATURES  # not the batch, and time is another axis
                if e.source in known or (label != FEATURES and label in others):
                    first = first or e
                    break
                known[e.source] = label
            except ConversionError as e:
                first = first or decisions.failed(e)
                break
        if not guessed and not conversion.builder.guessed:
            break
    assert first is not None
    raise first


# ------------------------------------------------------------------------------------ conversion


class Conversion:
    """One model on its way: tensors by name, layers in a builder.

    ``outer``: the conversion of the graph around, if this one is of a loop's body.
    """

    def __init__(
        self,
        model: Any,
        constants: Mapping[str, Any],
        known: Labels,
        preference: Preference,
        decisions: Decisions,
        outer: Conversion | None = None,
    ) -> None:
        self.model = model
        self.outer = outer
        self.known = known
        self.opset = opset_of(model)
        self.functions = {(f.domain, f.name) for f in model.functions}
        visible = {v.name for v in (*model.graph.input, *model.graph.output)}
        self.builder = Builder(visible, preference)
        self.builder.conversion = self
        self.builder.assumed = decisions.assumed if outer is None else set()
        self.decisions = decisions
        self.folder: Folder = Folder(self.opset) if outer is None else outer.folder
        self.tensors = Scopes(model.graph)
        self.branches = Branches(self)
        self.renamed: dict[str, str] = {}  # values that have got an output's name
        self.declared = {v.name: "float16" for v in model.graph.output if is_half(v)}
        self.inputs = self.read_inputs(constants)
        self.builder.inputs = list(self.inputs.values())
        if preference == NEITHER:
            self.builder.decide(*self.inputs.values())

    def graph(self) -> g.Graph:
        self.visit_all(self.model.graph)
        results = [(v.name, self.result(v)) for v in self.model.graph.output]
        for v in self.model.graph.input:
            if isinstance(kind := self.tensors[v.name], Refused):
                raise kind.error  # unused, but predict would have to take it
        inputs = [self.input_value(name, value) for name, value in self.inputs.items()]
        outputs = self.name_outputs(results)
        self.one_row_or_all([*inputs, *outputs])
        graph = g.Graph(inputs, outputs, self.builder.layers, self.provenance())
        own_clocks(graph)
        simplify(graph)
        used = readers(graph)
        for v in inputs:
            if not used[v.name]:
                raise ConversionError(
                    f"input '{v.name}' has no effect on the outputs; remove it from the model, or "
                    f"{onnx_branches.fix(v.name)}"
                )
        self.branches.check(graph)
        graph.origins = origins(graph, self.tensors.tensors[0], self.renamed)
        return graph

    def one_row_or_all(self, values: list[g.Value]) -> None:
        """A model of which a value has no batch axis takes one row: its inputs hold no more."""
        without = next((v.name for v in values if BATCH not in v.axes), None)
        for name, x in self.inputs.items():
            rows = next((d.size for d in x.dims if d.label == BATCH and not d.is_one()), None)
            if without is not None and rows is not None:
                raise ConversionError(
                    f"'{without}' has no batch axis, so the model takes one row, but input "
                    f"'{name}' has a batch of {rows}"
                )

    def provenance(self) -> dict[str, str]:
        version = getattr(lstmc, "__version__", None)
        producer = f"{self.model.producer_name} {self.model.producer_version}".strip()
        found = {
            "source": "onnx",
            "producer": producer,
            "opset": str(self.opset),
            "converter": f"lstmc {version}" if version else "lstmc",
            "note": "\n".join(self.builder.notes),
        }
        return {key: value for key, value in found.items() if value}

    # -------------------------------------------------------------------------------- tensors

    def read_inputs(self, constants: Mapping[str, Any]) -> dict[str, Tracked]:
        """Tracked values for the inputs of the graph, in order; constants bound."""
        declared = {v.name: v for v in self.model.graph.input}
        for name in constants:
            if name not in declared:
                raise ConversionError(
                    f"constants: '{name}' is not an input of the model; "
                    f"its inputs: {', '.join(declared) or 'none'}"
                )
        inputs = {}
        for name, value in declared.items():
            if name in constants:
                self.tensors[name] = Const(name, bound(value, constants[name]))
            elif name not in self.tensors.initializers[0]:  # before IR 4 all are inputs too
                kind = tracked_input(value, self.known)
                self.branches.origins[name] = frozenset({(name, VALUE)})
                if isinstance(kind, Tracked):
                    inputs[name] = kind
                    kind = widened(self.builder, kind)
                self.tensors[name] = kind
        return inputs

    def visit_all(self, graph: Any) -> None:
        """Visit the nodes of a graph that its outputs depend on."""
        decisions = self.decisions
        needed = onnx_scopes.needed(graph, decisions.taken, self.branches.path)
        for proto in graph.node:
            if any(n in needed for n in proto.output if n):
                self.visit(proto)
        if onnx_scopes.needed(graph, decisions.taken, self.branches.path) != needed:
            decisions.again()  # without what only branches read that aren't taken

    def visit(self, proto: Any) -> None:
        """Say what a node's outputs are. What can't be is an error once something needs it."""
        if any(isinstance(n, bytes) for n in (*proto.input, *proto.output, proto.name)):
            raise FormatError("not a valid ONNX model: a name is not UTF-8")
        inputs = [self.tensors[n] if n else None for n in proto.input]
        node = Node(
            name=proto.name or next(n for n in proto.output if n),
            op=proto.op_type,
            opset=self.opset,
            inputs=inputs,
            input_names=list(proto.input),
            outputs=list(proto.output),
            attrs={},
            domain="" if proto.domain in DOMAINS else proto.domain,
        )
        try:
            known = not node.domain or (node.domain, node.op) in onnx_ops.FOREIGN
            if not known or (proto.domain, proto.op_type) in self.functions:
                raise node.error(self.foreign(proto))
            node.attrs = attributes(node, proto)
            results = self.made(node, proto)
        except ConversionError as e:
            results = [Refused(e)] * len(node.outputs)
        self.branches.trace(proto)
        for name, kind in zip(node.outputs, results, strict=False):
            if name:
                self.tensors[name] = kind
        while self.builder.pins:
            self.branches.pin(*self.builder.pins.pop())

    def made(self, node: Node, proto: Any) -> list[Kind]:
        """The outputs of a node."""
        if node.op == "If":
            return self.branches.taken(node, proto)
        if not any(isinstance(k, Sizes) for k in node.inputs):
            return self.folder.fold(node, proto) or onnx_ops.run(self.builder, node)
        try:
            return onnx_ops.run(self.builder, node)
        except ConversionError:
            if (found := self.folder.fold(node, proto)) is None:
                raise
            return found

    def foreign(self, proto: Any) -> str:
        if (proto.domain, proto.op_type) in self.functions:
            return (
                "this operator is a function defined in the model; inline it first with "
                "onnx.inliner.inline_local_functions"
            )
        return (
            f"operators of domain '{proto.domain}' are not supported; export the model with "
            "standard ONNX operators only"
        )

    # ------------------------------------------------------------------------ inputs, outputs

    def result(self, value: Any) -> Tracked:
        """An output's tensor."""
        kind = self.tensors[value.name]
        if isinstance(kind, Refused):
            raise kind.error
        node = Node(value.name, "", self.opset, [kind], [value.name], [], {})
        if isinstance(kind, Inner):
            raise ConversionError(f"output '{value.name}' is quantised; dequantise it in the model")
        if not isinstance(kind, Tracked):
            raise ConversionError(f"output '{value.name}' does not depend on the model's inputs")
        if kind.dtype != "float32":
            raise ConversionError(
                f"output '{value.name}' is {kind.dtype}, only float32 is supported; Cast it in the "
                "model"
            )
        node.outputs = [value.name + "/last"]
        b = self.builder
        b.decide(kind)
        kind = onnx_shapes.settle(b, node, kind, final=True)
        kind = kind.moved(tuple(bare(axis) for axis in kind.axes))
        for axis in kind.axes:
            if {d.label for d in axis} == {TIME, FEATURES}:
                kind = steps_as_features(b, node, kind)
            elif len(axis) > 1:
                not_batch(node, list(axis), PRODUCT)
        rank = len(value.type.tensor_type.shape.dim)
        if value.type.tensor_type.HasField("shape") and rank != len(kind.axes):
            raise ConversionError(
                f"output '{value.name}' is declared with rank {rank} but has {len(kind.axes)} axes"
            )
        return in_order(b, node, kind)

    def input_value(self, name: str, value: Tracked) -> g.Value:
        """Decide what no operator decided and lay the input out."""
        guess_input(value.axes[0][0].family, self.builder.preference)
        outer = [d for d in value.dims if d.label is None]
        if outer:
            raise ConversionError(
                f"input '{name}': more axes than batch, time and features; {len(value.dims)} axes, "
                f"and {len(outer)} more than two are of open size or not features"
            )
        return layout(f"input '{name}'", name, value)

    def name_outputs(self, results: list[tuple[str, Tracked]]) -> list[g.Value]:
        """Values of the outputs, under their ONNX names.

        An output that is another tensor's value in another layout takes its name over; where that
        name is itself one that users see, a linear layer makes a second value.
        """
        b = self.builder
        fixed = set(self.inputs)
        renamed = self.renamed
        outputs = []
        for name, x in results:
            where = f"output '{name}'"
            node = Node(name, "", self.opset, [x], [name], [name], {})
            if x.name in fixed or x.name in renamed:
                renamed[b.add(g.Activation, node, x.name, activation=g.LINEAR)] = name
            else:
                renamed[x.name] = name
            x.dtype = self.declared.get(name, x.dtype)
            outputs.append(layout(where, name, x))
        for layer in b.layers:
            layer.rename(renamed)
        return outputs
