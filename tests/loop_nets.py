"""Recurrent cells spelled out in the bodies of ONNX Loop and Scan, as exporters and people do."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import FLOAT, Net

INT32, INT64, BOOL = TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
ROWS = {"LSTM": 4, "GRU": 3, "RNN": 1}
Sizes = tuple[int, int]  # features, hidden size
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


class Speller:
    """One step of a cell as nodes of ``n``, each time spelled in another way."""

    def __init__(self, n: Net, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng

    def some(self, *options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def either(self, op: str, a: str, b: str) -> str:
        """A commutative operator, either way round."""
        return self.n.node(op, *self.some((a, b), (b, a)))

    def parts(self, x: str, count: int, size: int) -> list[str]:
        n = self.n
        if count == 1:
            return [x]
        if self.some(True, False):
            sizes = n.const(np.full(count, size))
            return n.node("Split", x, sizes, outputs=count, axis=-1)
        return [n.slice(x, i * size, (i + 1) * size, 1) for i in range(count)]

    def sums(self, x: str, h: str, features: int, size: int, count: int) -> list[str]:
        """W x + U h + b of several gates."""
        n = self.n
        match self.rng.integers(5):
            case 0:  # TensorFlow's old cells
                both = n.node("Concat", x, h, axis=1)
                y = n.node("MatMul", both, n.weight(features + size, count * size))
                return self.parts(self.either("Add", y, n.weight(count * size)), count, size)
            case 1:  # PyTorch's Linear, twice
                a, b = count * size, n.weight(count * size)
                y = n.node("Gemm", x, n.weight(a, features), b, transB=1)
                z = n.node("Gemm", h, n.weight(a, size), n.weight(a), transB=1)
                return self.parts(self.either("Add", y, z), count, size)
            case 2:
                y = n.node("MatMul", x, n.weight(features, count * size))
                z = n.node("MatMul", h, n.weight(size, count * size))
                y = n.node("Add", self.either("Add", y, z), n.weight(count * size))
                return self.parts(y, count, size)
            case 3:  # Keras
                y = n.node("Add", n.node("MatMul", x, n.weight(features, count * size)),
                           n.weight(count * size))  # fmt: skip
                z = n.node("MatMul", h, n.weight(size, count * size))
                pairs = zip(self.parts(y, count, size), self.parts(z, count, size), strict=True)
                return [self.either("Add", a, b) for a, b in pairs]
            case _:  # each gate by itself
                return [self.sums(x, h, features, size, 1)[0] for _ in range(count)]

    def lstm(self, x: str, h: str, c: str, features: int, size: int) -> list[str]:
        n = self.n
        i, f, g, o = (self.sums(x, h, features, size, 4)[k] for k in self.rng.permutation(4)) \
            if self.some(True, False) else self.sums(x, h, features, size, 4)  # fmt: skip
        i, f, o = (n.node("Sigmoid", v) for v in (i, f, o))
        kept, new = self.either("Mul", f, c), self.either("Mul", i, n.node("Tanh", g))
        c = self.either("Add", kept, new)
        return [self.either("Mul", o, n.node("Tanh", c)), c]

    def gru(self, x: str, h: str, features: int, size: int) -> list[str]:
        n = self.n
        r, z = (n.node("Sigmoid", v) for v in self.sums(x, h, features, size, 2))
        w = n.node("Add", n.node("MatMul", x, n.weight(features, size)), n.weight(size))
        if self.some(True, False):  # the reset gate before the product
            u = n.node("MatMul", self.either("Mul", r, h), n.weight(size, size))
        else:
            u = n.node("MatMul", h, n.weight(size, size))
            u = self.either("Mul", r, n.node("Add", u, n.weight(size)) if self.some(0, 1) else u)
        return [self.blend(z, n.node("Tanh", self.either("Add", w, u)), h)]

    def blend(self, z: str, new: str, h: str) -> str:
        n = self.n
        one = n.const(np.float32(1))
        old, new = self.some((h, new), (new, h))  # z stands for 1 - z in half of all nets
        match self.rng.integers(3):
            case 0:
                rest = self.either("Mul", n.node("Sub", one, z), new)
                return self.either("Add", self.either("Mul", z, old), rest)
            case 1:
                return self.either("Add", new, self.either("Mul", z, n.node("Sub", old, new)))
            case _:
                left = n.node("Sub", new, self.either("Mul", z, new))
                return self.either("Add", left, self.either("Mul", z, old))

    def rnn(self, x: str, h: str, features: int, size: int) -> list[str]:
        total = self.sums(x, h, features, size, 1)[0]
        return [self.n.node(self.some("Tanh", "Relu", "Sigmoid"), total)]

    def cell(self, kind: str, x: str, states: list[str], features: int, size: int) -> list[str]:
        return getattr(self, kind.lower())(x, *states, features, size)

    def operator(self, kind: str, x: str, states: list[str], features: int, size: int) -> list[str]:
        """The operator itself on a sequence of one step, as PyTorch exports its cells."""
        n, rows = self.n, ROWS[kind] * size
        names = [n.weight(1, rows, features), n.weight(1, rows, size), n.weight(1, 2 * rows)]
        x, *states = (n.axes_op("Unsqueeze", v, [0]) for v in (x, *states))
        made = n.node(kind, x, *names, "", *states, outputs=1 + len(states), hidden_size=size)
        return [n.axes_op("Squeeze", v, [0]) for v in made[1:]]


def info(name: str, dtype: int = FLOAT, shape: Any = None) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


def graph(body: Net, inputs: list[Any], outputs: list[Any], outside: Net | None) -> Any:
    """The body; its constants are its own, or initializers of the model around it."""
    own = [] if outside else [numpy_helper.from_array(a, k) for k, a in body.initializers.items()]
    if outside:
        outside.initializers |= body.initializers
    return helper.make_graph(body.nodes, "body", inputs, outputs, own)


def body_of(net: Net, seed: int) -> Net:
    body = Net(net.opset, seed)
    body.count = 1000 * (1 + seed)  # names of a body must not hide those outside
    return body


def tf_loop(net: Net, x: str, kind: str, states: list[str], sizes: Sizes, seed: int) -> Any:
    """As tf2onnx writes Keras: it counts itself, carries the length and the weights, and compares
    in float32. x [T, N, F] -> the last states, the sequence."""
    features, size = sizes
    body = body_of(net, seed)
    speller = Speller(body, body.rng)
    before = [f"{kind}_s{i}" for i in range(len(states))]
    step = body.node("Gather", x, "placeholder", axis=0)
    after = speller.cell(kind, step, before, features, size)
    count = body.node("Add", "placeholder", body.const(np.int32(1)))
    less = [
        body.node("Less", *(body.node("Cast", v, to=FLOAT) for v in pair))
        for pair in (("loop_counter", "limit_outside"), (count, "limit"))
    ]
    going = body.node("And", *less)
    carried = list(body.initializers.items())[:2]  # weights that pass through
    names = ["placeholder", *before, "limit", *(f"{k}_in" for k, _ in carried)]
    for node in body.nodes:
        for i, name in enumerate(node.input):
            if name in dict(carried):
                node.input[i] = f"{name}_in"
    for k, _ in carried:
        del body.initializers[k]
    total = net.node("Cast", net.node("Shape", x), to=INT32)
    limit = net.axes_op("Squeeze", net.slice(total, 0, 1, 0), [0])
    net.nodes.append(helper.make_node("Identity", [limit], ["limit_outside"]))
    begins = net.node("Less", net.const(np.float32(0)), net.node("Cast", limit, to=FLOAT))
    begins = net.node("And", begins, net.const(np.array(True)))
    trip = net.node("Cast", limit, to=INT64)
    sequence = body.node("Identity", after[0])
    through = [info(f"{k}_in", FLOAT, a.shape) for k, a in carried]
    inputs = [info("loop_counter", INT64, []), info("going_in", BOOL, []),
              info("placeholder", INT32, []), *(info(n, FLOAT, [None, size]) for n in before),
              info("limit", INT32, []), *through]  # fmt: skip
    outputs = [info(going, BOOL, []), info(count, INT32, []),
               *(info(n, FLOAT, [None, size]) for n in after),
               info("limit", INT32, []), *through, info(sequence, FLOAT, [None, size])]  # fmt: skip
    outside = [net.const(a, k) for k, a in carried]
    made = net.node("Loop", trip, begins, net.const(np.int32(0)), *states, limit, *outside,
                    outputs=len(names) + 1, body=graph(body, inputs, outputs, None))  # fmt: skip
    return [*made[1 : 1 + len(states)], made[-1]]


def torch_loop(net: Net, x: str, kind: str, states: list[str], sizes: Sizes, seed: int) -> Any:
    """As PyTorch exports a scripted loop: x[i] or x[:, i], a list that grows, torch.stack."""
    features, size = sizes
    body = body_of(net, seed)
    speller = Speller(body, body.rng)
    before = [f"{kind}_s{i}" for i in range(len(states))]
    split = bool(body.rng.integers(2))
    if split:
        one = net.const(np.int64(1))
        steps = net.node("SplitToSequence", x, one, axis=0, keepdims=0)
        trip = net.node("SequenceLength", steps)
        step = body.node("SequenceAt", steps, "i")
    else:
        trip = net.node("Gather", net.node("Shape", x), net.const(np.int64(0)), axis=0)
        step = body.node("Gather", x, "i", axis=0)
    make = speller.some(speller.cell, speller.operator)
    after = make(kind, step, before, features, size)
    grown = body.node("SequenceInsert", "list_in", after[0])
    going = body.node("Identity", "going_in")
    listed = helper.make_tensor_sequence_value_info
    inputs = [info("i", INT64, []), info("going_in", BOOL, []), *map(info, before),
              listed("list_in", FLOAT, None)]  # fmt: skip
    outputs = [info(going, BOOL, []), *map(info, after), listed(grown, FLOAT, None)]
    made = net.node(
        "Loop", trip, net.const(np.array(True)), *states, net.node("SequenceEmpty"),
        outputs=len(states) + 1,
        body=graph(body, inputs, outputs, net if body.rng.integers(2) else None),
    )  # fmt: skip
    stacked = net.node("ConcatFromSequence", made[-1], axis=0, new_axis=1)
    return [*made[:-1], stacked]


def scan_loop(net: Net, x: str, kind: str, states: list[str], sizes: Sizes, seed: int) -> Any:
    """A Loop with a scan output, whose condition is a constant."""
    features, size = sizes
    body = body_of(net, seed)
    before = [f"{kind}_s{i}" for i in range(len(states))]
    step = body.node("Gather", x, "i", axis=0)
    after = Speller(body, body.rng).cell(kind, step, before, features, size)
    twin = body.node("Identity", after[0])
    going = body.node("Constant", value=numpy_helper.from_array(np.array(True)))
    inputs = [info("i", INT64, []), info("going_in", BOOL, []), *map(info, before)]
    outputs = [info(going, BOOL, []), *map(info, after), info(twin)]
    trip = net.node("Gather", net.node("Shape", x), net.const(np.int64(0)), axis=0)
    return net.node("Loop", trip, "", *states, outputs=len(states) + 1,
                    body=graph(body, inputs, outputs, net))  # fmt: skip


def scan(
    net: Net, x: str, kind: str, states: list[str], sizes: Sizes, seed: int, **attrs: Any
) -> Any:
    """An ONNX Scan of one sequence."""
    features, size = sizes
    body = body_of(net, seed)
    before = [f"{kind}_s{i}" for i in range(len(states))]
    after = Speller(body, body.rng).cell(kind, "x_in", before, features, size)
    twin = body.node("Identity", after[0])
    inputs = [
        *(info(n, FLOAT, [None, size]) for n in before),
        info("x_in", FLOAT, [None, features]),
    ]
    outputs = [info(n, FLOAT, [None, size]) for n in (*after, twin)]
    return net.node("Scan", *states, x, outputs=len(states) + 1, num_scan_inputs=1,
                    body=graph(body, inputs, outputs, net if body.rng.integers(2) else None),
                    **attrs)  # fmt: skip


WRITERS = {"tf2onnx": tf_loop, "torch": torch_loop, "Loop": scan_loop, "Scan": scan}


def loop_net(writer: str, kind: str, seed: int, sizes: Sizes = (3, 4), opset: int = 17) -> Net:
    """x [T, N, F], and states as inputs, zeros or constants -> last states and the sequence."""
    net = Net(opset, seed)
    x = net.input("x", "T", "N", sizes[0])
    how = seed % 3
    count = STATES[kind]
    if how == 0:
        states = [net.input(f"state{i}", "N", sizes[1]) for i in range(count)]
    else:
        batch = net.node("Gather", net.node("Shape", x), net.const(np.array([1])), axis=0)
        shape = net.node("Concat", batch, net.const(np.array([sizes[1]])), axis=0)
        zero = net.const(np.zeros((1, 1), np.float32))
        states = [
            net.node("Expand", zero if how == 1 else net.weight(1, sizes[1]), shape)
            for _ in range(count)
        ]
    return net.output(*WRITERS[writer](net, x, kind, states, sizes, seed))
