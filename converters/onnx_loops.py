"""ONNX Loop and Scan that are recurrent layers: the loop is run once, as one step of it.

The body's nodes go through the same handlers as all others, on values of one step: a step of each
sequence that the loop reads, the states before it, and what is the same in every step
(:mod:`.onnx_steps`). What the states become is then compared with the cells of :mod:`.onnx_cells`;
they become layers, and what else a step computes becomes layers around them
(:mod:`.onnx_loop_layers`). Anything else is refused.

Sources: https://onnx.ai/onnx/operators/onnx__Loop.html, onnx__Scan.html (opset 9 on).
"""

from __future__ import annotations

from typing import Any

from .onnx_axes import bare, same_axis
from .onnx_layers import Builder
from .onnx_loop_layers import Layers
from .onnx_loop_parts import Counter, Going, Grown, inner, is_true, rank_of, whole_number
from .onnx_steps import Step, enter, run
from .onnx_values import NEXT, Const, Inner, Kind, Node, Refused, Sizes, axis_size

MOST = 64  # states that a loop may change


def passed(graph: Any, name: str) -> str:
    """Where a tensor comes from, through Identity."""
    sources = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Identity" and n.input}
    for _ in range(len(sources)):
        if name not in sources:
            break
        name = sources[name]
    return name


def loop(b: Builder, node: Node) -> list[Kind]:
    """Loop-1 on: trip count, condition, states; the body takes the step's number as well."""
    graph = node.attr("body")
    step = enter(b, node, graph)
    initial = [node.input(i) for i in range(2, len(node.inputs))]
    if len(graph.input) != 2 + len(initial) or len(graph.output) < 1 + len(initial):
        raise node.error("its body's inputs and outputs don't fit its own")
    if node.has(1) and not is_true(node.input(1)):
        raise node.error("its condition is not constant")
    if not node.has(0):
        raise node.error("has no trip count: how long it runs depends on the data")
    step.lengths.append(node.input(0))
    given = step.body.tensors
    given[graph.input[0].name] = inner(Counter(step, 0))
    given[graph.input[1].name] = inner(Going(step))
    results = [v.name for v in graph.output]
    kept = [passed(graph, n) for n in results[1:]]
    for i, (value, kind) in enumerate(zip(graph.input[2:], initial, strict=True)):
        number = whole_number(kind)
        if kept[i] == value.name:
            made = step.same(kind)
        elif number is not None:
            made = inner(Counter(step, number, rank_of(kind)))
        elif isinstance(kind, Inner) and isinstance(kind.part, Grown):
            made = inner(Grown(step, i))
        else:
            made = step.state(value.name, kind, value.type.tensor_type)
        given[value.name] = made
    run(step)
    going = step.body.tensors[results[0]]
    if isinstance(going, Refused):
        raise going.error
    if not is_true(going) and not (isinstance(going, Inner) and isinstance(going.part, Going)):
        raise node.error("its condition depends on what it computes")
    names = [v.name for v in graph.input[2:]]
    count = len(initial)
    outputs = [(n, 0, False) for n in results[1 + count :]]
    return finish(step, initial, names, results[1 : 1 + count], outputs)


def scan(b: Builder, node: Node) -> list[Kind]:
    """Scan-9 on: states and sequences in, states and sequences out."""
    if node.opset < 9:
        raise node.error("is of opset 8, which has a batch of its own; convert the model to 9")
    graph, count = node.attr("body"), node.attr("num_scan_inputs", 0)
    states = len(node.inputs) - count
    results = [v.name for v in graph.output]
    if not 0 < count <= len(node.inputs) or len(graph.input) != len(node.inputs):
        raise node.error("its body's inputs don't fit its own")
    if not states <= len(results):
        raise node.error("its body's outputs don't fit its own")
    axes = node.attr("scan_input_axes", [0] * count)
    turned = node.attr("scan_input_directions", [0] * count)
    out_axes = node.attr("scan_output_axes", [0] * (len(results) - states))
    out_turned = node.attr("scan_output_directions", [0] * (len(results) - states))
    if [len(axes), len(turned)] != [count] * 2 or {len(out_axes), len(out_turned)} != {
        len(results) - states
    }:
        raise node.error("its axes or directions don't fit its inputs and outputs")
    step = enter(b, node, graph)
    step.backwards = all(turned)
    given = step.body.tensors
    for i in range(count):
        x = node.value(states + i)
        axis = node.axis(axes[i], len(x.axes))
        value = step.read(x, axis, bool(turned[i]) and not step.backwards, together=True)
        given[graph.input[states + i].name] = value
    initial = [node.input(i) for i in range(states)]
    for i, (value, kind) in enumerate(zip(graph.input[:states], initial, strict=True)):
        same_ = passed(graph, results[i]) == value.name
        made = step.same(kind) if same_ else step.state(value.name, kind, value.type.tensor_type)
        given[value.name] = made
    run(step)
    names = [v.name for v in graph.input[:states]]
    outputs = [
        (n, axis, bool(way) != step.backwards)
        for n, axis, way in zip(results[states:], out_axes, out_turned, strict=True)
    ]
    return finish(step, initial, names, results[:states], outputs)


# ------------------------------------------------------------------------------------------- layers


def finish(
    step: Step,
    initial: list[Kind],
    names: list[str],
    results: list[str],
    outputs: list[tuple[str, int, bool]],
) -> list[Kind]:
    """The loop's outputs: the states after it, then its sequences (name, time axis, turned)."""
    node = step.node
    for name in (*results, *(n for n, _, _ in outputs)):
        if isinstance(kind := step.body.tensors[name], Refused):
            raise kind.error
    if len(step.leaves) > MOST:
        raise node.error(f"carries more than {MOST} states")
    if not step.time:
        raise node.error("reads no sequence step by step")
    for kind in step.lengths:
        check_length(step, kind)
    made: list[Kind] = []
    layers = Layers(step, initial, names, results)
    for i, (name, kind) in enumerate(zip(names, initial, strict=True)):
        after = step.body.tensors[results[i]]
        if name in step.leaves:
            made.append(layers.lasts[step.leaves[name]])
        elif isinstance(kind, Inner) and isinstance(kind.part, Grown):
            made.append(layers.grown(i, after))
        elif step.body.tensors[name] is kind:  # no step changes it
            made.append(kind)
        else:
            made.append(counted_on(step, name, after))
    for name, axis, turned in outputs:
        value, axes = layers.sequence(step.body.tensors[name], turned)
        axis = node.axis(axis, len(axes) + 1)
        made.append(value.moved((*axes[:axis], step.time, *axes[axis:])))
    return made


def counted_on(step: Step, name: str, after: Kind) -> Kind:
    """A counter has to go up by one; what it is at the end is nobody's business."""
    before = step.body.tensors[name]
    assert isinstance(before, Inner)
    now = after.part if isinstance(after, Inner) else None
    if not isinstance(now, Counter) or now.plus != before.part.plus + 1:
        raise step.node.error(f"its state '{name}' is an integer that doesn't count the steps")
    return Refused(step.node.error(f"the last value of its counter '{name}' is used; {NEXT}"))


def check_length(step: Step, kind: Any) -> None:
    """A number that has to be that of the steps."""
    size = axis_size(step.time)
    number: float | None = whole_number(kind)
    if isinstance(kind, Sizes) and len(kind.items) == 1:
        item = kind.items[0]
        if isinstance(item, int):
            number = item
        elif same_axis(bare(item), step.time):
            return
        else:
            number = axis_size(item)
    if isinstance(kind, Const) and kind.array.dtype.kind == "f" and kind.array.size == 1:
        number = float(kind.array.reshape(-1)[0])  # as tf2onnx compares
    if number is None or number != size:
        raise step.node.error("does not run once for every step of its sequences")
