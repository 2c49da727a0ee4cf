"""ONNX's elementwise functions, of recurrent cells and of operators, as :class:`lstmc.graph.Fn`."""

from __future__ import annotations

from collections.abc import Callable

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import FLOAT32_MAX

from .onnx_values import Node

# LSTM-22, "Activation functions", with the defaults of alpha and beta ("same as of corresponding
# ONNX operators"; Affine and ScaledTanh are no operators, so theirs must be given). A function has
# as many parameters as it has defaults here.
CELL: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "sigmoid": ("sigmoid", ()),
    "tanh": ("tanh", ()),
    "relu": ("relu", ()),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
    "affine": ("affine", (None, None)),
    "elu": ("elu", (1.0,)),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "scaledtanh": ("scaled_tanh", (None, None)),
    "thresholdedrelu": ("thresholded_relu", (1.0,)),
}


def function(node: Node, kind: str, *parameters: float) -> g.Fn:
    """An Fn, which refuses parameters that are out of range."""
    try:
        fn = g.Fn(kind, *parameters)
    except ConversionError as e:
        raise node.error(str(e)) from e
    return g.LINEAR if kind == "affine" and parameters == (1.0, 0.0) else fn


def activations(node: Node, default: list[str]) -> list[g.Fn]:
    """The functions of a recurrent operator, those of all directions.

    Its alphas and betas "are consumed in the order of activation functions": by those that take
    one, as in ONNX Runtime. More values than those may mean one for each function, taken or not;
    where the two readings differ we refuse.
    """
    names = node.attr("activations", default)
    if len(names) != len(default):
        raise node.error(f"attribute activations has {len(names)} names, expected {len(default)}")
    for name in names:
        if name.lower() not in CELL:
            known = "Sigmoid, Tanh, Relu, Affine, LeakyRelu, ThresholdedRelu, ScaledTanh, "
            raise node.error(
                f"activation '{name}' is not supported; known: {known}HardSigmoid, Elu, Softsign, "
                "Softplus"
            )
    takers = [[i for i, n in enumerate(names) if len(CELL[n.lower()][1]) > k] for k in range(2)]
    chosen: list[dict[int, float]] = []
    for attribute, taking in zip(("activation_alpha", "activation_beta"), takers, strict=True):
        values = [float(v) for v in node.attr(attribute, [])]
        if len(values) > len(taking) and taking != list(range(len(taking))):
            raise node.error(
                f"attribute {attribute} has {len(values)} values for {len(taking)} functions that "
                f"take one, {names}: it is not clear which is whose; give only those that are used"
            )
        chosen.append(dict(zip(taking, values, strict=False)))
    functions = []
    for i, name in enumerate(names):
        kind, defaults = CELL[name.lower()]
        parameters = []
        for which, (given, usual) in enumerate(zip(chosen, defaults, strict=False)):
            value = given.get(i, usual)
            if value is None:
                what = ("alpha", "beta")[which]
                raise node.error(f"activation {name} without {what}, which has no default")
            parameters.append(value)
        functions.append(function(node, kind, *parameters))
    return functions


def fixed(kind: str, *parameters: float) -> Callable[[Node], g.Fn]:
    """An operator without attributes."""
    return lambda node: function(node, kind, *parameters)


def by_attributes(kind: str, **defaults: float) -> Callable[[Node], g.Fn]:
    """An operator whose attributes are the function's parameters, in this order."""
    return lambda node: function(
        node, kind, *(float(node.attr(name, value)) for name, value in defaults.items())
    )


def gelu(node: Node) -> g.Fn:
    """Gelu-20: exact, or with tanh."""
    how = node.attr("approximate", "none")
    if how not in ("none", "tanh"):
        raise node.error(f"attribute approximate={how} is unknown")
    return function(node, "gelu_tanh" if how == "tanh" else "gelu")


def shrink(node: Node) -> g.Fn:
    """Shrink-9: y = x + bias below -lambd, x - bias above lambd, else 0."""
    bias, lambd = node.number("bias", 0.0), node.number("lambd", 0.5)
    if bias not in (0.0, lambd):
        raise node.error(
            f"has bias {bias:g} and lambd {lambd:g}; only bias 0 or lambd is supported"
        )
    return function(node, "hard_shrink" if bias == 0.0 else "soft_shrink", lambd)


def clip(node: Node) -> g.Fn:
    """Clip-6 (attributes), -11 on (inputs); without a bound, that of float32."""
    bounds = []
    for i, (name, usual) in enumerate((("min", -FLOAT32_MAX), ("max", FLOAT32_MAX)), start=1):
        value = node.attr(name)
        if value is None and node.has(i):
            value = node.scalar(i, name)
        bounds.append(usual if value is None else float(value))
    return function(node, "clip", *bounds)


# Operators that apply one function to each element.
OPERATORS: dict[str, Callable[[Node], g.Fn]] = {
    "Abs": fixed("abs"),
    "Celu": by_attributes("celu", alpha=1.0),
    "Clip": clip,
    "Elu": by_attributes("elu", alpha=1.0),
    "Erf": fixed("erf"),
    "Exp": fixed("exponential"),
    "Gelu": gelu,
    "HardSigmoid": by_attributes("hard_sigmoid", alpha=0.2, beta=0.5),
    "HardSwish": fixed("hard_silu", 1 / 6, 0.5),
    "LeakyRelu": by_attributes("leaky_relu", alpha=0.01),
    "Log": fixed("log"),
    "Mish": fixed("mish"),
    "Neg": fixed("affine", -1.0, 0.0),
    "Reciprocal": fixed("reciprocal"),
    "Relu": fixed("relu"),
    "Selu": by_attributes("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Shrink": shrink,
    "Sigmoid": fixed("sigmoid"),
    "Sign": fixed("sign"),
    "Softplus": fixed("softplus"),
    "Softsign": fixed("softsign"),
    "Sqrt": fixed("sqrt"),
    "Swish": by_attributes("silu", alpha=1.0),
    "Tanh": fixed("tanh"),
    "ThresholdedRelu": by_attributes("thresholded_relu", alpha=1.0),
}
