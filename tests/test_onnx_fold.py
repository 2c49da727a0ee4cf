"""Constant expressions of ONNX models, evaluated by onnx within bounds; sizes, open or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lstmc.converters import from_onnx, onnx_fold

from lstmc import errors

onnx = pytest.importorskip("onnx")
from onnx import helper  # noqa: E402
from onnx_nets import OPSETS, Net, agree, close, data, kinds, onnx_run, run  # noqa: E402

Build = Callable[[Net], str]


def added(build: Build, opset: int = 21, width: int = 4) -> Net:
    """x + what is built of constants alone, of that width."""
    net = Net(opset)
    x = net.input("x", "N", width)
    return net.output(net.node("Tanh", net.node("Add", x, build(net))))


def f(n: Net, *shape: int) -> str:
    return n.weight(*shape)


def i(n: Net, *values: Any) -> str:
    return n.const(np.array(values))


FOLDED: dict[str, Build] = {
    "functions": lambda n: n.node("Sin", n.node("Ceil", n.node("Exp", f(n, 4)))),
    "arithmetic": lambda n: n.node("Pow", n.node("Div", f(n, 4), f(n, 1)), n.const(np.float32(2))),
    "products of matrices": lambda n: n.node("MatMul", f(n, 2, 3), f(n, 3, 4)),
    "Gemm": lambda n: n.node("Gemm", f(n, 3, 1), f(n, 4, 3), f(n, 4), transA=1, transB=1),
    "logic": lambda n: n.node(
        "Where", n.node("And", n.node("Less", f(n, 4), f(n, 4)), n.const(np.array(True))),
        f(n, 4), f(n, 4),
    ),
    "made of nothing": lambda n: n.node(
        "Cast", n.node("Range", n.const(np.int64(0)), n.const(np.int64(8)), n.const(np.int64(2))),
        to=1,
    ),
    "a small convolution": lambda n: n.node(
        "Reshape", n.node("Conv", f(n, 1, 1, 5), f(n, 1, 1, 2), kernel_shape=[2]), i(n, 4)
    ),
    "places that values decide": lambda n: n.node(
        "Cast", n.node("NonZero", n.const(np.float32([1, 0, 2, 3, -1]))), to=1
    ),
    "mirrored": lambda n: n.node("Pad", f(n, 2), i(n, 1, 1), mode="reflect"),
    "spread and cut": lambda n: n.slice(
        n.node("Reshape", n.node("Expand", f(n, 2, 1), i(n, 2, 3)), i(n, -1)), 1, 5, 0
    ),
    "a norm, as of weight_norm": lambda n: n.node(
        "Squeeze", n.node("Div", f(n, 1, 4), n.node("ReduceL2", f(n, 1, 4), i(n, 1))), i(n, 0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FOLDED)
def test_what_is_constant_is_evaluated(what: str) -> None:
    width = 1 if what == "none" else 4
    agree(added(FOLDED[what], width=width), x=data(2, width))


@pytest.mark.parametrize("opset", OPSETS)
def test_of_every_opset(opset: int) -> None:
    def build(n: Net) -> str:
        y = n.node("Concat", n.slice(f(n, 3, 8), 0, 1, 0), f(n, 1, 8), axis=0)
        y = n.axes_op("Unsqueeze", n.node("Transpose", n.slice(y, 2, 6, 1)), [0])
        y = n.node("Gather", n.axes_op("Squeeze", y, [0]), n.const(np.int64(1)), axis=1)
        size = n.node("Size", y)  # 4
        return n.node("Mul", y, n.node("Cast", n.node("Sub", size, n.const(np.int64(2))), to=1))

    net = added(build, opset)
    g = agree(net, x=data(2, 4))
    assert "Affine" in kinds(g) or "Activation" in kinds(g)


def test_weights_keep_their_names_in_messages() -> None:
    net = Net()
    net.initializers["bad"] = np.array([[np.inf, 1, 2, 3]], np.float32)
    x = net.input("x", "N", 4)
    net.output(net.node("Mul", x, net.node("Sin", net.node("Neg", "bad"))))
    with pytest.raises(errors.ConversionError, match="parameter 'bad' holds NaN"):
        from_onnx.convert(net.model())


# ----------------------------------------------------------------------------------- hostile ones


def chain(n: Net, count: int) -> str:
    """Each doubles what the one before made."""
    y = f(n, 1, 4)
    for _ in range(count):
        y = n.node("Concat", y, y, axis=0)
    return n.slice(y, 0, 1, 0)


def squares(n: Net, size: int) -> str:
    big = n.node("Expand", n.const(np.float32([[1e-3]])), i(n, size, size))
    for _ in range(4):
        big = n.node("MatMul", big, big)
    return n.slice(n.slice(big, 0, 1, 0), 0, 4, 1)


def pooled(n: Net) -> str:
    y = n.node("MaxPool", f(n, 1, 1, 3000), kernel_shape=[2999], pads=[2998, 2998])
    return n.slice(n.node("Reshape", y, i(n, 1, -1)), 0, 4, 1)


def summed(n: Net) -> str:
    y = n.node("Einsum", *(f(n, 300) for _ in range(5)), equation="a,b,c,d,e->")
    return n.node("Reshape", y, i(n, 1))


def ranged(n: Net) -> str:
    ends = (n.const(np.float32(v)) for v in (0, 1e9, 1))
    return n.slice(n.node("Range", *ends), 0, 4, 0)


HOSTILE: dict[str, Build] = {
    "doubled again and again": lambda n: chain(n, 40),
    "expanded": lambda n: n.slice(n.node("Expand", f(n, 4), i(n, 2**40, 4)), 0, 1, 0),
    "tiled": lambda n: n.slice(n.node("Tile", f(n, 1, 4), i(n, 2**33, 1)), 0, 1, 0),
    "tiled by a product": lambda n: n.slice(
        n.node("Tile", f(n, 1, 4), n.node("Mul", i(n, 2**31, 1), i(n, 4, 1))), 0, 1, 0
    ),
    "a long range": ranged,
    "products of large matrices": lambda n: squares(n, 4096),
    "an outer product of many": summed,
    "wide windows": pooled,
    "one hot": lambda n: n.slice(
        n.node("OneHot", i(n, 3), n.const(np.array([2**40])), n.const(np.float32([0, 1]))), 0, 4, 1
    ),
    "padded": lambda n: n.slice(n.node("Pad", f(n, 4), i(n, 0, 2**40)), 0, 4, 0),
    "an identity": lambda n: n.slice(n.node("EyeLike", n.node(
        "Expand", n.const(np.float32([[1]])), i(n, 2**20, 2**20))), 0, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_small_files_do_not_make_large_constants(what: str) -> None:
    """Refused in one line, before anything is made of it: it would take hours, or all memory."""
    net = added(HOSTILE[what])
    with pytest.raises(errors.ConversionError) as e:
        from_onnx.convert(net.model())
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("op", ["RandomNormalLike", "RandomUniformLike", "Bernoulli"])
def test_nothing_random_is_folded(op: str) -> None:
    net = added(lambda n: n.node(op, n.const(np.full(4, 0.5, np.float32))))
    with pytest.raises(errors.ConversionError, match=rf"\({op}\): this operator is not supported"):
        from_onnx.convert(net.model())


def test_no_body_is_run() -> None:
    """A Scan over constants could go on for ever."""
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "e"], ["t"]), helper.make_node("Neg", ["t"], ["o"])],
        "body",
        [helper.make_tensor_value_info(n, 1, []) for n in "se"],
        [helper.make_tensor_value_info(n, 1, []) for n in "to"],
    )

    def build(n: Net) -> str:
        start = n.const(np.float32(0))
        return n.node("Scan", start, f(n, 4), outputs=2, body=body, num_scan_inputs=1)[1]

    with pytest.raises(errors.ConversionError, match=r"\(Scan\): its input 1 .* is constant"):
        from_onnx.convert(added(build).model())


def test_the_bound_is_for_all_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(n: Net) -> str:
        parts = [n.node("Sin", f(n, 100, 4)) for _ in range(5)]
        return n.slice(n.node("Sum", *parts), 0, 1, 0)

    net = added(build)
    agree(net, x=data(2, 4))
    monkeypatch.setattr(onnx_fold, "LIMIT", 2000)
    with pytest.raises(
        errors.ConversionError, match="constant expressions make over 2000 elements"
    ):
        from_onnx.convert(net.model())


def test_expressions_that_do_not_fit_are_refused() -> None:
    for build in (
        lambda n: n.node("Add", f(n, 3), f(n, 4)),
        lambda n: n.node("Reshape", f(n, 4), i(n, 3)),
        lambda n: n.node("MatMul", f(n, 2, 3), f(n, 2, 3)),
        lambda n: n.node("Gather", f(n, 4), i(n, 9)),
        lambda n: n.node("Expand", f(n, 4), i(n, -7)),
        lambda n: n.node("ConstantOfShape", i(n, -3)),
    ):
        with pytest.raises(errors.ConversionError) as e:
            from_onnx.convert(added(build).model())
        assert "\n" not in str(e.value)


# ---------------------------------------------------------------------------------- sizes of axes


def upsampled(opset: int, each: int, times: int, features: int, how: str) -> Net:
    """A convolution of stride ``times``, whose steps are cut into as many as there were."""
    net = Net(opset)
    x = net.input("x", "N", "T", 3)
    y = net.node(
        "Conv", net.node("Transpose", x, perm=[0, 2, 1]), net.weight(times * features, 3, times),
        strides=[times],
    )  # fmt: skip
    y = net.node("Transpose", y, perm=[0, 2, 1])
    if each:
        y = net.node("MatMul", y, net.weight(times * features, times * features))
    shape = net.node("Shape", x)
    batch, steps = (
        net.axes_op("Unsqueeze", net.node("Gather", shape, net.const(np.int64(k)), axis=0), [0])
        for k in (0, 1)
    )
    rows = {"-1": i(net, -1), "0": i(net, 0), "size": batch}[how]
    y = net.node("Reshape", y, net.node("Concat", rows, steps, i(net, features), axis=0))
    return net.output(net.node("Tanh", y))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("times", "features", "how"), [(2, 2, "-1"), (3, 1, "size"), (4, 5, "0")])
def test_steps_are_cut_to_those_of_the_input(
    times: int, features: int, how: str, opset: int
) -> None:
    net = upsampled(opset, opset % 2, times, features, how)
    g = agree(net, x=data(2, 3 * times, 3))
    assert "Restep" in kinds(g)
    close(run(g, {"x": data(3, times, 3)}), onnx_run(net.model(), {"x": data(3, times, 3)}))
    with pytest.raises(errors.ShapeError, match="time steps don't fit"):
        run(g, {"x": data(2, 3 * times + 1, 3)})


@pytest.mark.parametrize("opset", OPSETS)
def test_a_product_of_open_sizes_is_followed(opset: int) -> None:
    """x.reshape(batch * time, 3), a layer, and back."""
    net = Net(opset)
    x = net.input("x", "N", "T", 3)
    shape = net.node("Shape", x)
    batch, steps = (net.node("Gather", shape, net.const(np.int64(k)), axis=0) for k in (0, 1))
    both = net.axes_op("Unsqueeze", net.node("Mul", batch, steps), [0])
    flat = net.node("Reshape", x, net.node("Concat", both, i(net, 3), axis=0))
    y = net.node("Tanh", net.node("MatMul", flat, net.weight(3, 2)))
    again = [net.axes_op("Unsqueeze", n, [0]) for n in (batch, steps)]
    y = net.node("Reshape", y, net.node("Concat", *again, i(net, 2), axis=0))
    agree(net.output(y), x=data(2, 5, 3))


def test_a_size_that_is_computed_from_an_open_one_is_refused() -> None:
    net = Net()
    x = net.input("x", "N", "T", 4)
    steps = net.node("Gather", net.node("Shape", x), i(net, 1), axis=0)
    double = net.node("Add", steps, i(net, 1))
    y = net.node("Reshape", x, net.node("Concat", i(net, -1), double, i(net, 2), axis=0))
    net.output(net.node("Tanh", y))
    with pytest.raises(errors.ConversionError, match="computes a size from one that is left open"):
        from_onnx.convert(net.model())


@pytest.mark.parametrize("opset", OPSETS)
def test_shapes_that_are_fixed_in_part(opset: int) -> None:
    """[N, 2] * [1, 3], of x [N, 2, 3]: the batch stays open."""
    net = Net(opset)
    x = net.input("x", "N", 2, 3)
    shape = net.node("Mul", net.slice(net.node("Shape", x), 0, 2, 0), i(net, 1, 3))
    y = net.node("MatMul", net.node("Reshape", x, shape), net.weight(6, 2))
    agree(net.output(net.node("Tanh", y)), x=data(4, 2, 3))


def test_only_steps_behind_the_batch_are_cut() -> None:
    """Of [time, batch, features], a Reshape to [.., n, 2] would mix rows."""
    net = Net()
    x = net.input("x", "T", "N", 3)
    y = net.node("Conv", net.node("Transpose", x, perm=[1, 2, 0]), net.weight(4, 3, 2), strides=[2])
    y = net.node("Transpose", y, perm=[2, 0, 1])
    steps = net.node("Gather", net.node("Shape", x), i(net, 0), axis=0)
    y = net.node("Reshape", y, net.node("Concat", i(net, -1), steps, i(net, 2), axis=0))
    with pytest.raises(errors.ConversionError, match="don't regroup the axes as they are"):
        from_onnx.convert(net.output(net.node("Tanh", y)).model())


def test_attributes_count_as_work() -> None:
    """A window that is wide beside its input."""

    def pool(wide: int) -> Any:
        net = added(lambda n: n.slice(n.node("Reshape", n.node(
            "MaxPool", f(n, 1, 1, 200), kernel_shape=[wide], pads=[wide - 1, wide - 1]
        ), i(n, 1, -1)), 0, 4, 1))  # fmt: skip
        return net.model()

    from_onnx.convert(pool(1))
    with pytest.raises(errors.ConversionError, match=r"make over .* elements, or take long"):
        from_onnx.convert(pool(199))


@pytest.mark.parametrize("size", [3, 4])
def test_a_mirror_shows_no_more_than_there_is(size: int) -> None:
    net = Net()
    x = net.node("MatMul", net.input("x", "N", 3), net.weight(3, size))
    net.output(net.node("Tanh", net.node("Pad", x, i(net, 0, 3, 0, 0), mode="reflect")))
    if size == 4:
        agree(net, x=data(2, 3))
    else:
        with pytest.raises(errors.ConversionError, match="reflects 3 places to 3 before"):
            from_onnx.convert(net.model())
