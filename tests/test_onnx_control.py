"""ONNX's If: inlined where its condition is known, refused by name where it isn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lstmc.converters import from_onnx, onnx_branches, onnx_fold, onnx_scopes

import lstmc
from lstmc import errors, graph

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nets import FLOAT, NEWEST, OPSETS, Net, agree, close, data, kinds, onnx_run, run  # noqa: E402

SHARED = Path(__file__).parents[1].parent / "shared" / "models"
INT64 = TensorProto.INT64


def body(net: Net, *outputs: str, name: str = "branch") -> Any:
    """The nodes of a net as a graph in another; its initializers stay its own."""
    return helper.make_graph(
        net.nodes,
        name,
        [],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in net.initializers.items()],
    )


class Inner(Net):
    """A branch in the making; names differ from those of the nets around it."""

    def __init__(self, outer: Net, tag: str) -> None:
        super().__init__(outer.opset, int(outer.rng.integers(1000)))
        self.tag = tag

    def fresh(self, hint: str) -> str:
        return f"{self.tag}/{super().fresh(hint)}"


def chosen(
    net: Net, condition: str, then: Any, other: Any, outputs: int = 1, tag: str = "b"
) -> Any:
    """An If whose branches are made by functions of a net."""
    bodies = []
    for name, build in ((f"{tag}then", then), (f"{tag}else", other)):
        inner = Inner(net, name)
        made = build(inner)
        bodies.append(body(inner, *([made] if isinstance(made, str) else made), name=name))
    return net.node("If", condition, outputs=outputs, then_branch=bodies[0], else_branch=bodies[1])


def refuse(net: Net | Any, *parts: str, error: Any = errors.ConversionError, **options: Any) -> str:
    with pytest.raises(error) as e:
        from_onnx.convert(net.model() if isinstance(net, Net) else net, **options)
    message = str(e.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    return message


def is_zero(net: Net, value: str) -> str:
    return net.node("Equal", value, net.const(np.int64(0)))


# ------------------------------------------------------------------------------- known conditions


@pytest.mark.parametrize("opset", [o for o in OPSETS if o >= 11])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_branch_is_chosen_by_an_input_that_is_fixed(rate: int, opset: int) -> None:
    net = Net(opset)
    x, sr = net.input("x", "N", "T", 3), net.input("sr", dtype=INT64)
    condition = net.node("Equal", sr, net.const(np.int64(16000)))
    y = chosen(
        net,
        condition,
        lambda n: n.node("Tanh", n.node("MatMul", x, n.weight(3, 4))),
        lambda n: n.node("Sin", x),  # which lstmc doesn't have: it is not looked at
    )
    net.output(net.node("Neg", y))
    model, feeds = net.model(), {"x": data(2, 5, 3)}
    if rate == 16000:
        g = from_onnx.convert(model, constants={"sr": rate})
        close(run(g, feeds), onnx_run(model, {**feeds, "sr": np.array(rate)}))
        assert [v.name for v in g.inputs] == ["x"]
    else:
        refuse(model, "(Sin): this operator is not supported", constants={"sr": rate})
    text = "(If): its condition ('equal_2') is not known before the model runs: it depends on input"
    refuse(
        model, f"{text} 'sr'; fix its value: --set sr=VALUE, in Python constants={{'sr': value}}"
    )


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("rank", [2, 3])
def test_a_branch_is_chosen_by_a_rank(rank: int, opset: int) -> None:
    """As exporters write x.dim() == 2, with Cast and Not."""
    net = Net(opset)
    x = net.input("x", *("N", "T", 3)[3 - rank :] if rank == 3 else ("N", 3))
    same = net.node("Equal", net.node("Size", net.node("Shape", x)), net.const(np.int64(2)))
    condition = net.node("Cast", net.node("Not", same), to=TensorProto.BOOL)
    y = chosen(net, condition, lambda n: n.node("Tanh", x), lambda n: n.node("Sigmoid", x))
    g = agree(net.output(net.node("Relu", y)), x=data(2, 5, 3) if rank == 3 else data(2, 3))
    assert g.layers[0].activation == (graph.TANH if rank == 3 else graph.SIGMOID)


@pytest.mark.parametrize("opset", [11, 13, NEWEST])
def test_a_branch_is_chosen_by_sizes_that_are_fixed(opset: int) -> None:
    """Arithmetic on sizes: (features * steps - 3) / 2 == 6, of 5 steps of 3 features."""
    net = Net(opset)
    x = net.input("x", "N", 5, 3)
    shape = net.node("Shape", x)
    steps, features = (net.node("Gather", shape, net.const(np.int64(i)), axis=0) for i in (1, 2))
    n = net.node("Sub", net.node("Mul", features, steps), net.const(np.int64(3)))
    half = net.node("Div", n, net.const(np.int64(2)))
    condition = net.node("Equal", half, net.const(np.int64(6)))
    y = chosen(net, condition, lambda n: n.node("Tanh", x), lambda n: n.node("Sin", x))
    agree(net.output(y), x=data(2, 5, 3))
    less = net.node("Less", half, net.const(np.int64(7)))
    y = chosen(net, less, lambda n: n.node("Tanh", x), lambda n: n.node("Sin", x), tag="c")
    net.outputs = [net.node("Relu", y)]
    agree(net, x=data(2, 5, 3))


def test_branches_within_branches_see_what_is_around_them() -> None:
    """A name of their own hides an outer one; weights of any level; several outputs; what a branch
    makes is nothing to the graph around it."""
    net = Net(16)
    x = net.input("x", "N", "T", 3)
    net.initializers["w"] = data(3, 4, seed=5)
    yes, no = (net.const(np.array(v)) for v in (True, False))
    y = net.node("MatMul", x, "w")

    def deepest(n: Net) -> list[str]:
        return [n.node("Add", y, n.weight(4)), n.node("MatMul", x, "w")]

    def middle(n: Net) -> list[str]:
        return chosen(n, no, lambda m: [m.node("Sin", y)] * 2, deepest, outputs=2, tag="m")

    a, b = chosen(net, yes, middle, lambda n: [n.node("Sin", x)] * 2, outputs=2)
    net.output(net.node("Mul", a, b))
    agree(net, x=data(2, 5, 3))


def test_a_shadowed_name_is_the_inner_one() -> None:
    """onnx's checker and ONNX Runtime refuse it; what it means is clear."""
    net = Net(16)
    x = net.input("x", "N", 3)
    scopes = onnx_scopes.Scopes(net.output(net.node("Neg", x)).model().graph)
    outer, inner = (onnx_fold.Const("c", np.zeros(n)) for n in (1, 2))
    scopes["a"], scopes["b"] = outer, outer
    branch = body(Inner(net, "b"))
    branch.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "c"))
    scopes.enter(branch)
    assert scopes["a"] is outer
    scopes["a"] = inner
    assert scopes["a"] is inner and scopes["b"] is outer
    assert scopes["c"].array.size == 3
    scopes.leave()
    assert scopes["a"] is outer
    with pytest.raises(errors.FormatError, match="'c' is used but never made"):
        _ = scopes["c"]


def test_what_a_node_takes_from_around_it() -> None:
    """Names of its branches' own don't count, nor does what they hide."""
    net = Net(16)
    x, yes = net.input("x", "N", 3), net.const(np.array(True))
    chosen(net, yes, lambda n: n.node("Add", n.weight(3), x), lambda n: n.node("Relu", yes))
    (node,) = net.nodes
    assert onnx_scopes.reads(node, {}, "") == {x, yes}
    assert onnx_scopes.reads(node, {onnx_scopes.key(node.output, ""): False}, "") == {yes}


def test_what_only_the_other_branch_reads_is_not_looked_at() -> None:
    """Not even for what its axes mean: its operand would make x's last axis time."""

    def net(aside: bool) -> Net:
        net = Net(16)
        x = net.input("x", "N", 3, 7)
        if not aside:
            return net.output(net.node("Softmax", x))
        pooled = net.node("MaxPool", x, kernel_shape=[2])
        y = chosen(
            net,
            net.const(np.array(False)),
            lambda n: n.node("Relu", pooled),
            lambda n: n.node("Softmax", x),
        )
        return net.output(y)

    with_aside, without = (agree(net(a), x=data(2, 3, 7)) for a in (True, False))
    assert with_aside.inputs == without.inputs
    assert kinds(with_aside) == kinds(without) == ["Softmax"]


def test_weights_that_are_assembled_under_an_if() -> None:
    """W and R by Slice, Concat and Unsqueeze of PyTorch's, as silero-vad has them."""
    net = Net(16)
    x = net.input("x", "T", "N", 3)
    w, r = net.weight(16, 3), net.weight(16, 4)

    def lstm(n: Net) -> str:
        def reordered(m: str) -> str:
            parts = [n.slice(m, a, b, 0) for a, b in ((0, 4), (12, 16), (4, 12))]
            return n.axes_op("Unsqueeze", n.node("Concat", *parts, axis=0), [0])

        return n.node("LSTM", x, reordered(w), reordered(r), outputs=3, hidden_size=4)[0]

    y = chosen(net, net.const(np.array([True])), lstm, lambda n: n.node("Sin", x))
    assert kinds(agree(net.output(net.node("Tanh", y)), x=data(5, 2, 3))) == ["LSTM", "Activation"]


# --------------------------------------------------------------------- conditions on an open size


def strided(opset: int = 16, least: int = 1, sizes: Any = ("N", "T")) -> Net:
    """x [N, T] -> a convolution -> its only step, if it is one, else what is no LSTM's input."""
    net = Net(opset)
    x = net.input("x", *sizes)
    y = net.node(
        "Conv", net.axes_op("Unsqueeze", x, [1]), net.weight(4, 1, 3), strides=[4],
        kernel_shape=[3],
    )  # fmt: skip
    steps = net.node("Gather", net.node("Shape", y), net.const(np.array([-1])), axis=0)
    condition = net.node("Equal", steps, net.const(np.array([least])))
    z = chosen(
        net, condition, lambda n: n.axes_op("Squeeze", y, [-1]), lambda n: n.node("Identity", y)
    )
    z = net.axes_op("Unsqueeze", z, [0])
    return net.output(net.node("LSTM", z, net.weight(1, 16, 4), net.weight(1, 16, 4), hidden_size=4,
                               outputs=3)[1])  # fmt: skip


@pytest.mark.parametrize("opset", [11, 13, NEWEST])
def test_an_open_size_is_insisted_on_where_a_branch_needs_it(opset: int) -> None:
    model = strided(opset).model()
    ours = lstmc.convert(model)
    assert "Restep" in kinds(ours.graph)
    for time in range(3, 12):
        feeds = {"x": data(2, time)}
        if time < 7:
            close({ours.graph.outputs[0].name: ours.predict(feeds["x"])}, onnx_run(model, feeds))
        else:
            with pytest.raises(lstmc.ShapeError, match=r"[23] steps of 4 are not 1 steps"):
                ours.predict(feeds["x"])


def test_a_size_of_the_inputs_is_for_the_user_to_fix() -> None:
    for axis in (0, 1):
        net = Net(16)
        x = net.input("x", "N", "T", 3)
        size = net.node("Gather", net.node("Shape", x), net.const(np.int64(axis)), axis=0)
        condition = net.node("Equal", size, net.const(np.int64(1)))
        y = chosen(
            net, condition, lambda n, x=x: n.node("Tanh", x), lambda n, x=x: n.node("Relu", x)
        )
        refuse(
            net.output(y),
            "depends on the sizes of input 'x'; give the axes a fixed size in the model",
        )


def test_an_assumption_that_nothing_keeps_is_refused() -> None:
    """The branch reads only what doesn't go through the layer that insists on the size."""
    net = Net(16)
    x = net.input("x", "N", "T")
    y = net.node("Conv", net.axes_op("Unsqueeze", x, [1]), net.weight(4, 1, 3), strides=[4])
    steps = net.node("Gather", net.node("Shape", y), net.const(np.array([-1])), axis=0)
    condition = net.node("Equal", steps, net.const(np.array([1])))
    z = chosen(net, condition, lambda n: n.node("Tanh", x), lambda n: n.node("Relu", x))
    refuse(net.output(z), "(If): its condition", "depends on the sizes of input 'x'")


def test_the_reason_is_told_where_an_assumption_does_not_help() -> None:
    net = strided()
    net.outputs = [net.node("Sin", net.outputs[0])]
    refuse(net, "its condition ('equal", "(taken for true: node", "(Sin): this operator")


# ----------------------------------------------------------------------------------- hostile ones


def test_conditions_that_are_none() -> None:
    def tried(*value: Any) -> Net:
        net = Net(16)
        x = net.input("x", "N", 3)
        y = chosen(net, net.const(np.array(*value)), lambda n: n.node("Tanh", x),
                   lambda n: n.node("Relu", x))  # fmt: skip
        return net.output(y)

    refuse(tried([True, False]), "its condition is bool of shape [2], expected one bool")
    refuse(tried(1), "its condition is int64 of shape [], expected one bool")
    refuse(tried([], bool), "its condition is bool of shape [0]")
    net = Net(16)
    x = net.input("x", "N", 3)
    condition = net.node("Equal", x, net.const(np.float32([0, 0, 0])))
    net.output(chosen(net, condition, lambda n: n.node("Tanh", x), lambda n: n.node("Relu", x)))
    refuse(net, "it depends on input 'x'; a model must do the same whatever its data")


def branches(change: Any, taken: bool = True) -> Any:
    net = Net(16)
    x = net.input("x", "N", 3)
    y = chosen(net, net.const(np.array(taken)), lambda n: n.node("Tanh", x),
               lambda n: n.node("Relu", x))  # fmt: skip
    model = net.output(net.node("Neg", y)).model()
    change({a.name: a.g for a in model.graph.node[0].attribute}, model.graph.node[0])
    return model


@pytest.mark.parametrize("taken", [True, False])
def test_branches_that_are_missing_or_differ(taken: bool) -> None:
    which = "then_branch" if taken else "else_branch"

    def drop(graphs: Any, node: Any) -> None:
        (kept,) = [a for a in node.attribute if a.name != which]
        kept = helper.make_attribute(kept.name, kept.g)
        del node.attribute[:]
        node.attribute.append(kept)

    def twice(graphs: Any, node: Any) -> None:
        graphs[which].output.append(graphs[which].output[0])

    def bare(graphs: Any, node: Any) -> None:
        del graphs[which].output[:]

    def reads(graphs: Any, node: Any) -> None:
        graphs[which].input.append(helper.make_tensor_value_info("q", FLOAT, [3]))

    for change in (drop, twice, bare, reads):
        model = branches(change, taken)
        with pytest.raises((errors.ConversionError, errors.FormatError)) as e:
            from_onnx.convert(model)
        assert "\n" not in str(e.value)
        # onnx's checker is the first to see most of them: what is behind it sees them too.
        with pytest.raises(errors.ConversionError, match=r"has no|inputs and"):
            unchecked(model)


def nested(depth: int) -> Any:
    net = Net(16)
    x = net.input("x", "N", 3)
    yes = net.const(np.array(True))

    def build(n: Net, left: int) -> str:
        if not left:
            return n.node("Tanh", x)
        return chosen(n, yes, lambda m: build(m, left - 1), lambda m: m.node("Relu", x),
                      tag=f"d{left}")  # fmt: skip

    return net.output(net.node("Neg", build(net, depth))).model()


def unchecked(model: Any) -> graph.Graph:
    """A conversion without onnx's checker before it."""
    decisions = onnx_branches.Decisions()
    while True:
        try:
            return from_onnx.Conversion(model, {}, {}, (None, None), decisions).graph()
        except onnx_branches.Again:
            continue


def test_deep_nesting() -> None:
    """Deeper still, protobuf gives up."""
    deepest = onnx_scopes.DEEPEST
    assert kinds(unchecked(nested(deepest))) == ["Activation"] * 2
    for convert in (unchecked, from_onnx.convert):
        with pytest.raises(errors.ConversionError, match=f"nested in more than {deepest} others"):
            convert(nested(deepest + 1))


def test_many_ifs_in_a_row_are_no_recursion() -> None:
    net = Net(16)
    y = net.input("x", "N", 3)
    yes = net.const(np.array(True))
    for i in range(400):
        y = chosen(net, yes, lambda n, y=y: n.node("Neg", y), lambda n, y=y: n.node("Sin", y),
                   tag=f"i{i}")  # fmt: skip
    agree(net.output(y), x=data(2, 3))


def test_data_outside_the_file_is_found_in_branches(tmp_path: Path) -> None:
    """Where it may be read from is checked there too."""

    def outside(graphs: Any, node: Any) -> None:
        tensor = numpy_helper.from_array(np.ones(3, np.float32), "far")
        onnx.external_data_helper.set_external_data(tensor, "../far.bin", length=12)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        graphs["then_branch"].initializer.append(tensor)

    model = branches(outside)
    (tmp_path / "far.bin").write_bytes(bytes(12))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "net.onnx").write_bytes(model.SerializeToString())
    refuse(str(tmp_path / "in" / "net.onnx"), "'../far.bin' lies outside the model's folder")
    refuse(model, "initializer 'far' is stored in another file")


# ------------------------------------------------------------------------------------ random nets


def random_branch(n: Net, x: str) -> str:
    how = n.rng.integers(4)
    if how == 0:
        return n.node("Tanh", n.node("MatMul", x, n.weight(4, 4)))
    if how == 1:
        return n.node("Add", x, n.weight(4))
    if how == 2:
        return n.node("Mul", n.node("Relu", x), x)
    return n.node("Identity", x)


def random_if(n: Net, x: str, depth: int, tag: str) -> str:
    """x through an If, whose branches may hold others."""
    flag = bool(n.rng.integers(2))
    how = int(n.rng.integers(3))
    if how == 0:
        condition = n.const(np.array(flag))
    elif how == 1:
        rank = n.node("Size", n.node("Shape", x))
        condition = n.node("Equal", rank, n.const(np.int64(3 if flag else 2)))
    else:
        last = n.node("Gather", n.node("Shape", x), n.const(np.int64(2)), axis=0)
        condition = n.node("Less", last, n.const(np.int64(5 if flag else 4)))

    def build(m: Net, side: str) -> str:
        y = x
        for i in range(int(m.rng.integers(1, 4))):
            if depth and m.rng.integers(3) == 0:
                y = random_if(m, y, depth - 1, f"{tag}{side}{i}")
            else:
                y = random_branch(m, y)
        return m.node("Neg", y)

    return chosen(n, condition, lambda m: build(m, "t"), lambda m: build(m, "e"), tag=tag)


@pytest.mark.parametrize("seed", range(40))
def test_random_nets_with_branches(seed: int) -> None:
    opset = [11, 13, 16, 21, NEWEST][seed % 5]
    net = Net(opset, seed)
    x = net.input("x", "T", "N", 3)
    y = net.axes_op("Squeeze", net.lstm(x, 3, 4)[0], [1])
    for i in range(int(net.rng.integers(1, 4))):
        y = random_if(net, y, 2, f"r{i}")
        if net.rng.integers(2):
            y = random_branch(net, y)
    agree(net.output(net.node("Sigmoid", y)), x=data(6, 2, 3, seed=seed))
