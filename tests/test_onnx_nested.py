"""ONNX's Loop and Scan with If: either within the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_out
import pytest
from lstmc.converters import from_onnx, onnx_fold

from lstmc import errors

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from loop_nets import BOOL, INT64, ROWS, STATES, WRITERS, Speller, body_of, graph, info  # noqa: E402
from onnx_nets import FLOAT, Net, agree, data, kinds, onnx_run  # noqa: E402
from test_onnx_control import chosen, refuse  # noqa: E402

FEEDS = {"x": data(5, 2, 3), "h": data(2, 4, seed=2), "context": data(2, 2, seed=3)}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_loop_in_a_branch(writer: str, kind: str) -> None:
    """It reads what is around the branch; the branch that is not taken may hold anything."""
    net = Net(17)
    x = net.input("x", "T", "N", 3)
    states = [net.input(f"state{i}", "N", 4) for i in range(STATES[kind])]
    three = net.node("Size", net.node("Shape", x))
    y = chosen(
        net,
        net.node("Equal", three, net.const(np.int64(3))),
        lambda n: WRITERS[writer](n, x, kind, states, (3, 4), 1)[-1],
        lambda n: n.node("Sin", x),
    )
    net.output(net.node("Neg", y))
    feeds = {"x": FEEDS["x"], **{s: data(2, 4, seed=i) for i, s in enumerate(states)}}
    g = agree(net, onnx_run, **feeds)
    assert kinds(g).count(kind) == 1


def looped(
    condition: Callable[[Net, Net], str],
    step: Callable[[Net, str], str] = lambda n, i: n.node("Gather", "x", i, axis=0),
    wrong: Callable[[Net, str], str] = lambda n, i: n.node("Sin", "h"),
    within: bool = False,
) -> Net:
    """A Loop over x [T, N, 3] whose body takes one step of it in a branch, and a context as well.

    ``within``: all that is itself in a branch.
    """
    net = Net(17)
    for name, axes in (("x", ("T", "N", 3)), ("h", ("N", 4)), ("context", ("N", 2))):
        net.input(name, *axes)

    def loop(n: Net) -> str:
        body = body_of(n, 3)
        made = chosen(
            body,
            condition(n, body),
            lambda b: b.node("Concat", step(b, "i"), "context", axis=1),
            lambda b: wrong(b, "i"),
            tag="body",
        )
        (after,) = Speller(body, body.rng).gru(made, "before", 5, 4)
        going = body.node("Identity", "going_in")
        twin = body.node("Identity", after)
        inputs = [
            info("i", INT64, []),
            info("going_in", BOOL, []),
            info("before", FLOAT, [None, 4]),
        ]
        outputs = [info(going, BOOL, []), info(after), info(twin)]
        trip = n.node("Gather", n.node("Shape", "x"), n.const(np.int64(0)), axis=0)
        return n.node(
            "Loop", trip, n.const(np.array(True)), "h", outputs=2,
            body=graph(body, inputs, outputs, None),
        )[1]  # fmt: skip

    if within:
        yes = net.const(np.array(True))
        y = chosen(net, yes, loop, lambda n: n.node("Sin", "x"), tag="around")
    else:
        y = loop(net)
    return net.output(net.node("Neg", y))


CONDITIONS: dict[str, Callable[[Net, Net], str]] = {
    "outside": lambda n, body: n.const(np.array(True)),
    "inside": lambda n, body: body.const(np.array(True)),
    "a rank": lambda n, body: body.node(
        "Equal", body.node("Size", body.node("Shape", "context")), body.const(np.int64(2))
    ),
}


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_branch_in_a_loop(condition: str, within: bool) -> None:
    """Its nodes read the number of the step, a sequence and a context from outside the loop."""
    net = looped(CONDITIONS[condition], within=within)
    g = agree(net, onnx_run, **FEEDS)
    assert kinds(g).count("GRU") == 1


def first_step(n: Net, body: Net) -> str:
    return body.node("Equal", "i", body.const(np.int64(0)))


def on_data(n: Net, body: Net) -> str:
    total = body.node("ReduceSum", "context", keepdims=0)
    return body.node("Greater", total, body.const(np.float32(0)))


def on_state(n: Net, body: Net) -> str:
    total = body.node("ReduceSum", "before", keepdims=0)
    return body.node("Greater", total, body.const(np.float32(0)))


def on_steps(n: Net, body: Net) -> str:
    steps = body.node("Gather", body.node("Shape", "x"), body.const(np.int64(0)), axis=0)
    return body.node("Equal", steps, body.const(np.int64(5)))


def like_step(n: Net, i: str) -> str:
    return n.node("Concat", n.node("Gather", "x", i, axis=0), "context", axis=1)


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (first_step, "(Equal): "),
        (on_data, "is not known before the model runs: it depends on input 'context'"),
        (on_state, "is not known before the model runs: it depends on input 'h'"),
        (on_steps, "is not known before the model runs: it depends on the sizes of input 'x'"),
    ],
)
@pytest.mark.parametrize("within", [False, True])
def test_a_branch_in_a_loop_that_is_not_known(condition: Any, text: str, within: bool) -> None:
    """Not even the number of steps is assumed within a loop, as it may be around one."""
    refuse(looped(condition, wrong=like_step, within=within), text)


def test_a_step_that_is_read_in_a_branch_is_that_of_the_loop() -> None:
    def next_step(n: Net, i: str) -> str:
        return n.node("Gather", "x", n.node("Add", i, n.const(np.int64(1))), axis=0)

    refuse(looped(CONDITIONS["outside"], next_step), "reads another step of a sequence")


def test_a_loop_within_a_loop_is_refused() -> None:
    net = Net(17)
    x, h = net.input("x", "T", "N", 3), net.input("h", "N", 4)
    body = body_of(net, 3)
    yes = body.const(np.array(True))
    made = chosen(
        body,
        yes,
        lambda n: WRITERS["Loop"](n, x, "RNN", ["before"], (3, 4), 1)[0],
        lambda n: n.node("Sin", x),
    )
    inputs = [info("before", FLOAT, [None, 4]), info("x_in", FLOAT, [None, 3])]
    outputs = [info(made, FLOAT, [None, 4])]
    net.output(net.node("Scan", h, x, num_scan_inputs=1, body=graph(body, inputs, outputs, None)))
    with pytest.raises(errors.ConversionError, match="is within another loop"):
        from_onnx.convert(net.model())


USES: list[Callable[[Net, str, str], str]] = [
    lambda n, x, steps: n.node("Reshape", x, whole(n, steps)),
    lambda n, x, steps: n.node("Reshape", x, whole(n, n.node("Mul", steps, one(n)))),
    lambda n, x, steps: n.node("Mul", x, n.node("Cast", steps, to=FLOAT)),
    lambda n, x, steps: n.node("Gather", x, steps, axis=1),
    lambda n, x, steps: n.node("Slice", x, n.const(np.array([0])), steps, one(n)),
]


def one(n: Net) -> str:
    return n.const(np.array([1]))


def whole(n: Net, steps: str) -> str:
    return n.node("Concat", n.const(np.array([0])), steps, n.const(np.array([3])), axis=0)


@pytest.mark.parametrize("op", ["Add", "Sub"])
@pytest.mark.parametrize("use", range(len(USES)))
@pytest.mark.parametrize("plus", [0, 1])
def test_arithmetic_on_an_open_number_of_steps_outside_loops(op: str, use: int, plus: int) -> None:
    """Plus 0 it is a size; else it is refused for what it is, not as a part of a loop."""
    net = Net(17)
    x = net.input("x", "N", "T", 3)
    steps = net.node("Gather", net.node("Shape", x), one(net), axis=0)
    steps = net.node(op, steps, net.const(np.array([plus])))
    net.output(net.node("Neg", USES[use](net, x, steps)))
    if plus:
        refuse(net, f"({op}): computes a size from one that is left open")
    elif use < 2:
        agree(net, onnx_run, x=data(2, 5, 3))
    else:
        assert "loop" not in refuse(net)


def test_a_fixed_number_of_steps_as_a_float() -> None:
    """5 / 2 is 2.5 then: only sizes that stay open are left as they are."""
    net = Net(17)
    x = net.input("x", "N", 5, 2)
    shape = net.node("Shape", x)
    sizes = (net.node("Gather", shape, net.const(np.array(i)), axis=0) for i in (1, 2))
    steps, features = (net.node("Cast", s, to=FLOAT) for s in sizes)
    less = net.node("Less", net.node("Div", steps, features), net.const(np.float32(2.2)))
    y = chosen(net, less, lambda n: n.node("Sin", x), lambda n: n.node("Tanh", x))
    agree(net.output(y), onnx_run, x=data(2, 5, 2))


def test_an_open_number_of_steps_as_a_float_is_not_assumed() -> None:
    net = Net(17)
    x = net.input("x", "N", "T", 3)
    pooled = net.node("MaxPool", net.node("Transpose", x, perm=[0, 2, 1]), kernel_shape=[2])
    steps = net.node("Gather", net.node("Shape", pooled), net.const(np.array(2)), axis=0)
    same = net.node("Equal", net.node("Cast", steps, to=FLOAT), net.const(np.float32(2.5)))
    net.output(chosen(net, same, lambda n: n.node("Neg", x), lambda n: n.node("Tanh", x)))
    refuse(net, "(Equal): compares a shape")


@pytest.mark.parametrize("within", [False, True])
def test_what_only_the_other_branch_of_a_body_reads_is_not_looked_at(
    within: bool, monkeypatch: Any
) -> None:
    """The last attempt knows which branch of the body is taken, and visits only what that needs."""

    def wrong(n: Net, i: str) -> str:
        return n.node("Gather", "aside", i, axis=0)

    net = looped(CONDITIONS["inside"], wrong=wrong, within=within)
    net.nodes.insert(0, onnx.helper.make_node("MaxPool", ["x"], ["aside"], kernel_shape=[2]))
    seen: list[tuple[Any, str]] = []
    visit = from_onnx.Conversion.visit

    def noting(self: Any, proto: Any) -> None:
        seen.append((self, proto.op_type))
        visit(self, proto)

    monkeypatch.setattr(from_onnx.Conversion, "visit", noting)
    monkeypatch.setattr(onnx_out, "also", lambda *_: None)  # which converts another model
    agree(net, onnx_run, **FEEDS)
    ops = [op for conversion, op in seen if conversion is seen[-1][0]]
    assert ops.count("Loop") == 1
    assert "MaxPool" not in ops


def test_a_number_of_steps_that_could_be_assumed_around_a_loop_is_not_within() -> None:
    """No layer of the graph would insist on it."""

    def condition(n: Net, body: Net) -> str:
        steps = body.node("Gather", body.node("Shape", "pooled"), body.const(np.int64(2)), axis=0)
        return body.node("Equal", steps, body.const(np.int64(4)))

    net = looped(condition)
    turned = onnx.helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 2, 0])
    pooled = onnx.helper.make_node("MaxPool", ["turned"], ["pooled"], kernel_shape=[2], strides=[1])
    net.nodes[:0] = [turned, pooled]
    refuse(net, "is not known before the model runs: it depends on the sizes of input 'x'")


def test_constants_of_bodies_count_as_those_around_them(monkeypatch: Any) -> None:
    def many(n: Net) -> str:
        shape = n.const(np.array([600]))
        return n.node("ReduceMax", n.node("Expand", n.const(np.array([0])), shape), keepdims=0)

    def condition(n: Net, body: Net) -> str:
        zeros = [many(n), many(body)]
        return body.node("Equal", *zeros)

    net = looped(condition)
    agree(net, onnx_run, **FEEDS)
    monkeypatch.setattr(onnx_fold, "LIMIT", 1000)
    refuse(net, "constant expressions make over 1000 elements")
