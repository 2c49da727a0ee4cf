"""Steps of optimizers, against live Keras and torch.optim, and bit for bit against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import exact_fma, flush

import lstmc
from lstmc import _core, format
from lstmc import graph as g

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

SGD, RMSPROP, ADAM = range(3)
FIELDS = (
    "kind", "learning_rate", "momentum", "nesterov", "rho", "beta_1", "beta_2", "epsilon",
    "weight_decay", "centered", "amsgrad", "clip_value", "clip_norm", "global_clip_norm",
)  # fmt: skip
DEFAULTS = {
    "kind": SGD, "learning_rate": 0.01, "momentum": 0, "nesterov": 0, "rho": 0.9, "beta_1": 0.9,
    "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0, "centered": 0, "amsgrad": 0,
    "clip_value": 0, "clip_norm": 0, "global_clip_norm": 0,
}  # fmt: skip
OPTIMIZERS = {
    "sgd": {},
    "sgd momentum": {"momentum": 0.9},
    "sgd nesterov": {"momentum": 0.9, "nesterov": 1},
    "sgd decay": {"momentum": 0.8, "weight_decay": 0.04},
    "sgd value": {"clip_value": 0.5},
    "sgd norm": {"clip_norm": 1.0, "momentum": 0.5},
    "sgd global": {"global_clip_norm": 1.5},
    "rmsprop": {"kind": RMSPROP},
    "rmsprop momentum": {"kind": RMSPROP, "momentum": 0.9, "rho": 0.8},
    "rmsprop centered": {"kind": RMSPROP, "centered": 1},
    "rmsprop both": {"kind": RMSPROP, "centered": 1, "momentum": 0.5, "epsilon": 1e-3},
    "rmsprop decay": {"kind": RMSPROP, "weight_decay": 0.1, "global_clip_norm": 2.0},
    "adam": {"kind": ADAM, "learning_rate": 0.001},
    "adam fast": {"kind": ADAM, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-4},
    "adam amsgrad": {"kind": ADAM, "amsgrad": 1},
    "adamw": {"kind": ADAM, "weight_decay": 0.004},
    "adam value": {"kind": ADAM, "clip_value": 0.01},
    "adam norm": {"kind": ADAM, "clip_norm": 0.1, "amsgrad": 1},
    "adam global": {"kind": ADAM, "global_clip_norm": 0.1, "weight_decay": 0.01},
}
UNITS, INPUTS, OUT = 21, 13, 3


def options(**changed) -> tuple:
    return tuple({**DEFAULTS, **changed}[name] for name in FIELDS)


def network(panel: int = 16, seed: int = 0) -> _core.Model:
    """Two Dense layers: weight, bias, weight, of whole and half panels."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape).astype(np.float32)

    first = draw(UNITS, INPUTS)
    graph = g.Graph(
        [g.Value("x", (g.BATCH, INPUTS))],
        [g.Value("y", (g.BATCH, OUT))],
        [
            g.Dense(name="a", inputs=("x",), outputs=("h",), weight=first, bias=draw(UNITS)),
            g.Dense(name="b", inputs=("h",), outputs=("y",), weight=draw(OUT, UNITS)),
        ],
    )
    return _core.Model(np.frombuffer(format.dumps(graph, panel=panel), np.uint8).copy())


SHAPES = ((UNITS, INPUTS), (UNITS,), (OUT, UNITS))


class Steps:
    """A trainer whose gradients are given, tensors in the shapes of the graph."""

    def __init__(self, panel=16, target="auto", threads=1, slots=3, frozen=None) -> None:
        self.trainer = _core.Trainer(
            network(panel), 1, 1, _core.target_code(target), threads, frozen, slots
        )

    def read(self, index: int, what: int = 0) -> np.ndarray:
        gates, k, units, panel, size = self.trainer.trained(index)
        flat = np.empty(size, np.float32)
        self.trainer.read(index, what, flat)
        array = format.unpack(flat, gates, k, units, panel)
        # What is not a unit stays 0.
        assert np.array_equal(format.pack(array, gates, panel), flat, equal_nan=True)
        return array.reshape(SHAPES[index])

    def write(self, index: int, array: np.ndarray, what: int = 1) -> None:
        gates, _, _, panel, _ = self.trainer.trained(index)
        array = np.asarray(array, np.float32)
        self.trainer.write(index, what, format.pack(array, gates, panel))

    def step(self, gradients, given: tuple) -> None:
        for i, gradient in enumerate(gradients):
            self.write(i, gradient)
        self.trainer.update(given)
        assert not any(self.read(i, 1).any() for i in range(len(SHAPES)))

    def weights(self) -> list[np.ndarray]:
        return [self.read(i) for i in range(len(SHAPES))]

    def digest(self) -> list[int]:
        """Of all that an optimizer leaves behind."""
        return [lstmc.digest(self.read(i, what)) for i in range(3) for what in (0, 2, 3, 4)]


def gradients(steps: int, seed: int = 1, scale: float = 1.0) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-3, 0.5, (steps, 1))
    return [
        [(rng.normal(size=shape) * s * scale).astype(np.float32) for shape in SHAPES]
        for (s,) in size
    ]


def keras_optimizer(name: str):
    o = {**DEFAULTS, **OPTIMIZERS[name]}
    shared = {
        "learning_rate": o["learning_rate"],
        "weight_decay": o["weight_decay"] or None,
        "clipvalue": o["clip_value"] or None,
        "clipnorm": o["clip_norm"] or None,
        "global_clipnorm": o["global_clip_norm"] or None,
    }
    if o["kind"] == SGD:
        return keras.optimizers.SGD(
            momentum=float(o["momentum"]), nesterov=bool(o["nesterov"]), **shared
        )
    if o["kind"] == RMSPROP:
        return keras.optimizers.RMSprop(
            rho=o["rho"], momentum=o["momentum"], epsilon=o["epsilon"],
            centered=bool(o["centered"]), **shared,
        )  # fmt: skip
    return keras.optimizers.Adam(
        beta_1=o["beta_1"], beta_2=o["beta_2"], epsilon=o["epsilon"],
        amsgrad=bool(o["amsgrad"]), **shared,
    )  # fmt: skip


def close(ours, theirs, relative: float, way: float) -> None:
    """Within `relative` of each number, or of the way that a weight has gone."""
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, relative, relative * max(0.1, way))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_as_keras(name):
    ours, given = Steps(), options(**OPTIMIZERS[name])
    variables = [keras.Variable(w) for w in ours.weights()]
    theirs = keras_optimizer(name)
    for i, all_gradients in enumerate(gradients(100)):
        ours.step(all_gradients, given)
        theirs.apply([torch.tensor(x) for x in all_gradients], variables)
        if i in (0, 99):
            close(ours.weights(), [v.value.detach().numpy() for v in variables],
                  1e-5 if i else 1e-6, way=given[1] * (i + 1))  # fmt: skip


# ------------------------------------------------------------------------------------------ torch

#: Torch adds Adam's epsilon to a root that is corrected already, Keras before: it is tiny here.
TORCH = {
    "SGD": ({"momentum": 0.9}, lambda w: torch.optim.SGD(w, 0.01, momentum=0.9)),
    "SGD alone": ({}, lambda w: torch.optim.SGD(w, 0.01)),
    "Adam": (
        {"kind": ADAM, "learning_rate": 0.001, "epsilon": 1e-12},
        lambda w: torch.optim.Adam(w, 0.001, eps=1e-12),
    ),
    "AdamW": (
        {"kind": ADAM, "weight_decay": 0.05, "epsilon": 1e-12},
        lambda w: torch.optim.AdamW(w, 0.01, weight_decay=0.05, eps=1e-12),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_as_torch(name):
    """In float64."""
    changed, make = TORCH[name]
    ours, given = Steps(), options(**changed)
    leaves = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in ours.weights()]
    theirs = make(leaves)
    for i, all_gradients in enumerate(gradients(100)):
        ours.step(all_gradients, given)
        for leaf, gradient in zip(leaves, all_gradients, strict=True):
            leaf.grad = torch.tensor(gradient, dtype=torch.float64)
        theirs.step()
        if i in (0, 99):
            close(ours.weights(), [w.detach().numpy() for w in leaves],
                  1e-5 if i else 1e-6, way=given[1] * (i + 1))  # fmt: skip


# ------------------------------------------------------------------------------------------- bits


def f(x) -> np.float32:
    """A constant, as the core flushes it."""
    return np.float32(0) if abs(np.float32(x)) < 2.0**-64 else np.float32(x)


class Plain:
    """The rules of docs/TRAINING.md, number by number, on arrays of the graph's shapes."""

    def __init__(self, weights) -> None:
        self.w = [w.copy() for w in weights]
        self.slots = [[np.zeros_like(w) for _ in range(3)] for w in weights]
        self.power_1 = self.power_2 = np.float32(1)

    def average(self, keep, x, y, fresh=None):
        fresh = np.float32(1) - keep if fresh is None else fresh
        return exact_fma(keep, x, fresh * y)

    def second(self, slots, at, keep, gradient):
        real = np.where(abs(gradient) < 2.0**-50, np.float32(0), gradient)
        v = self.average(keep, slots[at], real * real)
        slots[at] = np.where(v < 2.0**-110, np.float32(0), v)
        return slots[at]

    def squares(self, gradient):
        """One chain for each unit over k; one over units."""
        total = np.float32(0)
        for unit in gradient.reshape(len(gradient), -1):
            s = np.float32(0)
            for x in unit:
                s = exact_fma(x, x, s) if not abs(x) < 2.0**-50 else s
            total = np.float32(total + s)
        return total

    def clipped(self, o, all_gradients):
        def factor(squares, most):
            norm = np.sqrt(squares)
            return np.float32(1) if norm <= most else np.float32(most) / norm

        if o["clip_value"]:
            c = np.float32(o["clip_value"])
            return [np.where(np.isnan(x), x, np.clip(x, -c, c)) for x in all_gradients]
        if o["clip_norm"]:
            factors = [factor(self.squares(x), np.float32(o["clip_norm"])) for x in all_gradients]
        elif o["global_clip_norm"]:
            total = np.float32(0)
            for x in all_gradients:
                total = np.float32(total + self.squares(x))
            one = factor(total, np.float32(o["global_clip_norm"]))
            factors = [one if np.isfinite(total) else np.float32(np.nan)] * len(all_gradients)
        else:
            return all_gradients
        return [np.where(x == 0, x, x * by) for x, by in zip(all_gradients, factors, strict=True)]

    def step(self, all_gradients, o: dict) -> None:
        lr, mu = f(o["learning_rate"]), f(o["momentum"])
        decay = f(np.float32(o["learning_rate"]) * np.float32(o["weight_decay"]))
        b1, b2, rho = f(o["beta_1"]), f(o["beta_2"]), f(o["rho"])
        rate = lr
        if o["kind"] == ADAM:
            self.power_1, self.power_2 = f(self.power_1 * b1), f(self.power_2 * b2)
            one = np.float32(1)
            rate = f(
                np.float32(o["learning_rate"]) * np.sqrt(one - self.power_2) / (one - self.power_1)
            )
        for i, x in enumerate(self.clipped(o, [flush(x) for x in all_gradients])):
            x = flush(x)
            w, s = self.w[i], self.slots[i]
            if decay:
                w = exact_fma(-decay, w, w)
            if o["kind"] == SGD and not o["momentum"]:
                self.w[i] = flush(exact_fma(-lr, x, w))
            elif o["kind"] == SGD:
                s[0] = flush(exact_fma(-lr, x, mu * s[0]))
                move = exact_fma(-lr, x, mu * s[0]) if o["nesterov"] else s[0]
                self.w[i] = flush(w + move)
            elif o["kind"] == RMSPROP:
                momentum = o["momentum"] != 0
                v = self.second(s, 0, rho, x)
                epsilon = np.float32(max(o["epsilon"], 2.0**-100))
                if o["centered"]:
                    at = 2 if momentum else 1
                    s[at] = flush(self.average(rho, s[at], x))
                    v = exact_fma(-s[at], s[at], v)
                    v = np.where(v < 2.0**-110, np.float32(0), v)
                move = flush(x / np.sqrt(v + epsilon))
                if momentum:
                    s[1] = flush(self.average(mu, s[1], move, lr))
                    self.w[i] = flush(w - s[1])
                else:
                    self.w[i] = flush(exact_fma(-lr, move, w))
            else:
                epsilon = np.float32(max(o["epsilon"], 2.0**-50))
                s[0] = flush(self.average(b1, s[0], x))
                v = self.second(s, 1, b2, x)
                if o["amsgrad"]:
                    s[2] = np.where(s[2] > v, s[2], v)
                    v = s[2]
                self.w[i] = flush(exact_fma(-rate, flush(s[0] / (np.sqrt(v) + epsilon)), w))

    def digest(self) -> list[int]:
        return [
            lstmc.digest(array)
            for w, slots in zip(self.w, self.slots, strict=True)
            for array in (w, *slots)
        ]


def wild(steps: int, seed: int = 5, special: bool = False) -> list[list[np.ndarray]]:
    """Gradients of all sizes, subnormal ones too; special: a few that are no numbers."""
    rng = np.random.default_rng(seed)
    result = []
    for i in range(steps):
        step = []
        for shape in SHAPES:
            exponent = rng.choice([-50, -64, -55, -1], shape)
            exponent = np.where(rng.random(shape) < 0.5, rng.uniform(-150, 60, shape), exponent)
            x = rng.normal(size=shape) * 2.0 ** (exponent + rng.integers(-2, 3, shape))
            x[rng.random(shape) < 0.1] = 0
            if special and i == steps // 2:
                x.flat[3], x.flat[5], x.flat[7] = np.nan, np.inf, -np.inf
            step.append(x.astype(np.float32))
        result.append(step)
    return result


CONFIGURATIONS = [
    *OPTIMIZERS.values(),
    {"kind": ADAM, "epsilon": 0, "learning_rate": 1e-15},
    {"kind": ADAM, "beta_1": 0, "beta_2": 0, "learning_rate": 100.0},
    {"kind": RMSPROP, "epsilon": 0, "centered": 1, "momentum": 1e-21},
    {"kind": RMSPROP, "rho": 0},
    {"learning_rate": 1e-21, "momentum": 1.0, "nesterov": 1},
    {"learning_rate": -0.1, "weight_decay": 10.0},
    {"kind": ADAM, "beta_1": 0, "learning_rate": 1e15},
    {"kind": RMSPROP, "learning_rate": 1e15},
]


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("index", range(len(CONFIGURATIONS)))
def test_every_bit(index, special):
    """What an optimizer leaves is what docs/TRAINING.md says, on every target, with every panel and
    number of threads."""
    o = {**DEFAULTS, **CONFIGURATIONS[index]}
    given = tuple(o[name] for name in FIELDS)
    _core.set_grain(1)
    try:
        ours = [
            Steps(panel, target, threads)
            for target in lstmc.targets()
            for panel, threads in ((1, 1), (2, 2), (4, 1), (8, 1), (16, 1), (16, 3))
        ]
    finally:
        _core.set_grain(0)
    plain = Plain(ours[0].weights())
    for all_gradients in wild(6, index, special):
        with np.errstate(all="ignore"):
            plain.step(all_gradients, o)
        for one in ours:
            one.step(all_gradients, given)
    expected = plain.digest()
    for one in ours:
        assert one.digest() == expected
    if o["kind"] == ADAM:
        assert ours[0].trainer.optimizer == (6, plain.power_1, plain.power_2)


@pytest.mark.parametrize(
    "o",
    [
        {}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": 1}, {"kind": RMSPROP},
        {"kind": RMSPROP, "momentum": 0.5, "centered": 1}, {"kind": ADAM, "beta_1": 0.5},
    ],
)  # fmt: skip
def test_numbers_around_the_least(o):
    """What falls below 2^-64 on its way is 0: weights that start there, steps as small."""
    rate = 2.0**-22 if o.get("kind") == ADAM else 2.0**-12 if o.get("kind") else 1.0
    o = {**DEFAULTS, "learning_rate": rate, "epsilon": 2.0**-24, **o}
    ours = Steps()
    for i, shape in enumerate(SHAPES):
        ours.write(i, np.zeros(shape), 0)
    plain = Plain(ours.weights())
    rng = np.random.default_rng(11)
    for _ in range(12):
        step = [(rng.normal(size=s) * 2.0**-63).astype(np.float32) for s in SHAPES]
        plain.step(step, o)
        ours.step(step, tuple(o[name] for name in FIELDS))
        assert ours.digest() == plain.digest()
    assert any(w.any() for w in ours.weights())


def test_no_bit_depends_on_the_order_of_parts():
    """A net of many panels, cut into as many parts as there are blocks of 16 weights."""
    rng = np.random.default_rng(8)
    graph = g.Graph(
        [g.Value("x", (g.BATCH, 61))],
        [g.Value("y", (g.BATCH, 70))],
        [
            g.Dense(
                name="a", inputs=("x",), outputs=("y",),
                weight=rng.normal(size=(70, 61)).astype(np.float32),
                bias=rng.normal(size=70).astype(np.float32),
            )
        ],
    )  # fmt: skip
    model = _core.Model(np.frombuffer(format.dumps(graph), np.uint8).copy())
    given = [options(**OPTIMIZERS[name]) for name in ("adam norm", "rmsprop both", "adam amsgrad")]
    digests = set()
    _core.set_grain(1)
    try:
        for threads in (1, 2, 3, 7, 300):
            trainer = _core.Trainer(model, 1, 1, 0, threads, None, 3)
            size = trainer.trained(0)[-1]
            for i, one in enumerate(given):
                step = np.random.default_rng(i).normal(size=size).astype(np.float32)
                trainer.write(0, 1, step)
                trainer.update(one)
            left = np.empty((4, size), np.float32)
            for what, at in zip((0, 2, 3, 4), left, strict=True):
                trainer.read(0, what, at)
            digests.add(lstmc.digest(left))
    finally:
        _core.set_grain(0)
    assert len(digests) == 1


# ------------------------------------------------------------------------------------------- edges


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nan_stays_where_it_comes_in(name):
    """A NaN in a gradient reaches its weight; by a norm, those that share it."""
    o = OPTIMIZERS[name]
    given = options(**o)
    ours = Steps()
    before = ours.weights()
    (one,) = gradients(1)
    one[0][2, 3] = np.nan
    ours.step(one, given)
    after = ours.weights()
    assert np.isnan(after[0][2, 3])
    shared = [
        bool(o.get("clip_norm") or o.get("global_clip_norm")),
        *[bool(o.get("global_clip_norm"))] * 2,
    ]
    for i, (a, b, all_of_it) in enumerate(zip(after, before, shared, strict=True)):
        lost = np.isnan(a)
        assert lost.all() if all_of_it else lost.sum() == (i == 0)
        assert (a != b).all()


@pytest.mark.parametrize("global_norm", [False, True])
def test_an_infinite_norm(global_norm):
    """As Keras: finite gradients become 0 and infinite ones NaN; all NaN with the global norm."""
    o = {"learning_rate": 1.0, "global_clip_norm" if global_norm else "clip_norm": 1.0}
    for gradient in (np.inf, 3e19):  # whose square is infinite
        ours = Steps()
        before = ours.weights()
        variables = [keras.Variable(w) for w in before]
        (one,) = gradients(1)
        one[0][2, 3] = gradient
        ours.step(one, options(**o))
        theirs = keras.optimizers.SGD(
            1.0, **{"global_clipnorm" if global_norm else "clipnorm": 1.0}
        )
        theirs.apply([torch.tensor(x) for x in one], variables)
        for a, b in zip(ours.weights(), variables, strict=True):
            np.testing.assert_allclose(a, b.value.detach().numpy(), 1e-6, 1e-7)


def test_small_numbers_end_at_zero():
    """Second moments decay to 0 and not into subnormals; so do momentum and weights."""
    ours, given = Steps(), options(kind=ADAM, beta_1=0.1, beta_2=0.1, weight_decay=20.0)
    (one,) = gradients(1)
    nothing = [np.zeros_like(x) for x in one]
    ours.step(one, given)
    least = {0: 2.0**-64, 2: 2.0**-64, 3: 2.0**-110}
    for _ in range(400):
        ours.step(nothing, given)
        for what, size in least.items():
            found = ours.read(0, what)
            assert (abs(found[found != 0]) >= size).all()
    assert not any(ours.read(i, what).any() for i in range(3) for what in least)


def test_a_gradient_without_a_square_moves_little():
    """Below 2^-50 there is no second moment: the direction is below 1 then, whatever epsilon is."""
    for kind in (RMSPROP, ADAM):
        for size in (2.0**-51, 2.0**-60, 2.0**-65):
            ours, given = Steps(), options(kind=kind, epsilon=0, learning_rate=1.0)
            before = ours.weights()
            ours.step([np.full(s, size, np.float32) for s in SHAPES], given)
            for a, b in zip(ours.weights(), before, strict=True):
                assert (abs(a - b) <= 1).all()
                assert np.array_equal(a, b) == (size < 2.0**-64)
            assert not ours.read(0, 3 if kind == ADAM else 2).any()


@pytest.mark.parametrize("kind", [RMSPROP, ADAM])
def test_a_quotient_that_is_flushed(kind):
    """Below 2^-64 it moves nothing, however large the rate is."""
    given = options(kind=kind, beta_1=0, beta_2=0.5, rho=0.5, learning_rate=2.0**50)
    for size, moves in ((2.0**-40, False), (2.0**-24, True)):
        ours = Steps()
        ours.step([np.full(s, 2.0**30, np.float32) for s in SHAPES], given)
        for i, shape in enumerate(SHAPES):
            ours.write(i, np.ones(shape), 0)
        ours.step([np.full(s, size, np.float32) for s in SHAPES], given)
        for w in ours.weights():
            assert ((w != 1) == moves).all()


@pytest.mark.parametrize("limit", ["clip_norm", "global_clip_norm"])
def test_a_gradient_without_a_square_has_no_norm(limit):
    for size, clipped in ((2.0**-51, False), (2.0**-49, True)):
        ours, given = Steps(), options(learning_rate=1.0, **{limit: 2.0**-52})
        for i, shape in enumerate(SHAPES):
            ours.write(i, np.zeros(shape), 0)
        ours.step([np.full(s, size, np.float32) for s in SHAPES], given)
        for w in ours.weights():
            assert ((w == -np.float32(size)) != clipped).all()


def test_centered_is_no_nan():
    """The spread of gradients that are all alike is 0, and never negative by rounding."""
    ours = Steps()
    given = options(kind=RMSPROP, centered=1, learning_rate=1e-6, epsilon=1e-7, rho=0.5)
    for _ in range(100):
        ours.step([np.full(s, 300.7, np.float32) for s in SHAPES], given)
        assert all(np.isfinite(w).all() for w in ours.weights())


def test_slots():
    """As many floats a weight as Keras keeps, and no step with fewer."""
    for name, o in OPTIMIZERS.items():
        theirs = keras_optimizer(name)
        theirs.build([keras.Variable(np.zeros(3, np.float32))])
        count = _core.optimizer_slots(options(**o))
        assert count == len(theirs.variables) - 2  # iterations, learning rate
        if count:
            ours = Steps(slots=count - 1)
            before = ours.weights()
            (one,) = gradients(1)
            with pytest.raises(lstmc.Error):
                ours.step(one, options(**o))
            assert all(np.array_equal(a, b) for a, b in zip(ours.weights(), before, strict=True))
            assert np.array_equal(ours.read(0, 1), one[0])  # nothing has been done
            assert ours.trainer.optimizer == (0, 1, 1)


def test_memory_of_slots_is_what_is_needed():
    for name, o in OPTIMIZERS.items():
        count = _core.optimizer_slots(options(**o))
        few, many = Steps(slots=count), Steps()
        for one in gradients(3):
            few_and_many = options(**o)
            few.step(one, few_and_many)
            many.step(one, few_and_many)
        assert [lstmc.digest(w) for w in few.weights()] == [
            lstmc.digest(w) for w in many.weights()
        ], name


def test_state_goes_on_to_the_same_bits():
    """Weights, slots and the optimizer's state are all that a later step depends on."""
    given = options(kind=ADAM, amsgrad=1, weight_decay=0.01)
    first, second = Steps(), Steps()
    steps = gradients(6)
    for one in steps[:3]:
        first.step(one, given)
    for i in range(3):
        for what in (0, 2, 3, 4):
            second.write(i, first.read(i, what), what)
    second.trainer.optimizer = first.trainer.optimizer
    for one in steps[3:]:
        first.step(one, given)
        second.step(one, given)
    assert first.digest() == second.digest()
    assert first.trainer.optimizer == second.trainer.optimizer


def test_frozen_tensors_have_no_part():
    """Neither in steps nor in the norm of all gradients."""
    for frozen, left in ((b"\1\0", [2]), (b"\0\1", [0, 1])):
        ours, given = Steps(frozen=frozen), options(learning_rate=1.0, global_clip_norm=1.0)
        assert [i for i in range(3) if ours.trainer.trained(i)] == left
        (one,) = gradients(1, scale=100)
        before = {i: ours.read(i) for i in left}
        for i in left:
            ours.write(i, one[i])
        ours.trainer.update(given)
        norm = np.sqrt(sum((one[i].astype(np.float64) ** 2).sum() for i in left))
        for i in left:
            np.testing.assert_allclose(ours.read(i), before[i] - one[i] / norm, 1e-5, 1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": 3}, {"kind": -1}, {"learning_rate": np.nan}, {"learning_rate": np.inf},
        {"learning_rate": 1e30}, {"learning_rate": -1e30}, {"momentum": 1.1}, {"momentum": -0.1},
        {"momentum": np.nan}, {"weight_decay": -1}, {"weight_decay": np.inf},
        {"weight_decay": np.nan}, {"clip_value": -1}, {"clip_norm": -1}, {"clip_value": np.nan},
        {"clip_norm": np.inf}, {"global_clip_norm": np.nan}, {"global_clip_norm": -0.5},
        {"clip_value": 1, "clip_norm": 1}, {"clip_norm": 1, "global_clip_norm": 1},
        {"clip_value": 1, "global_clip_norm": 1}, {"kind": ADAM, "beta_1": 1},
        {"kind": ADAM, "beta_2": 1}, {"kind": ADAM, "beta_1": -0.1}, {"kind": ADAM, "beta_2": 2},
        {"kind": ADAM, "beta_1": np.nan}, {"kind": ADAM, "epsilon": -1e-7},
        {"kind": ADAM, "epsilon": np.nan}, {"kind": ADAM, "epsilon": np.inf},
        {"kind": RMSPROP, "rho": 1}, {"kind": RMSPROP, "rho": -0.5},
        {"kind": RMSPROP, "rho": np.nan}, {"kind": RMSPROP, "epsilon": -1},
        {"kind": RMSPROP, "momentum": 2},
    ],
)  # fmt: skip
def test_numbers_out_of_range(bad):
    """Refused before anything is written."""
    ours = Steps()
    (one,) = gradients(1)
    for i, x in enumerate(one):
        ours.write(i, x)
    before = ours.digest()
    with pytest.raises(lstmc.Error):
        ours.trainer.update(options(**bad))
    assert ours.digest() == before
    assert all(np.array_equal(ours.read(i, 1), x) for i, x in enumerate(one))
    assert ours.trainer.optimizer == (0, 1, 1)


def test_what_a_kind_does_not_name_is_not_looked_at():
    nonsense = {"beta_1": 7, "beta_2": np.nan, "epsilon": np.nan, "rho": np.inf}
    (one,) = gradients(1)
    plain, strange = Steps(), Steps()
    plain.step(one, options(momentum=0.5))
    strange.step(one, options(momentum=0.5, **nonsense))
    assert plain.digest() == strange.digest()
    plain.step(one, options(kind=ADAM))
    strange.step(one, options(kind=ADAM, momentum=np.nan, nesterov=5, rho=-1, centered=1))
    assert plain.digest() == strange.digest()
