"""Keras's initialisers: names, defaults and meaning of Keras 3, numbers of :mod:`lstmc.random`.

Each is a callable of a shape that gives a float32 array. Keras's numbers depend on its backend;
these are the same on every machine, made in float64 and rounded once. An initialiser with a seed
gives the same numbers in every call, one without takes the next stream of all.

To :func:`get`, an initialiser is one of these, its name ("glorot_uniform", "GlorotUniform"), the
dict that Keras writes of one, an array of the weight's shape, or any callable of a shape.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import ConversionError, RangeError, ShapeError
from .random import Numbers, checked_seed

# The deviation of normal numbers cut off at two deviations: what is left is as wide as asked.
TRUNCATED_DEVIATION = 0.87962566103423978


def _number(name: str, value: Any, *, positive: bool = False) -> float:
    sound = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not sound or not math.isfinite(value) or abs(value) > 3e38 or (positive and value <= 0):
        raise RangeError(
            f"{name} is {value!r:.60}, expected a {'positive' if positive else 'finite'} number"
        )
    return float(value)


class Initializer:
    """What all have in common. ``initializer(shape)`` gives float32 of that shape."""

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.ascontiguousarray(self._make(tuple(shape)), np.float32)

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What it was made with, by Keras's names."""
        names = inspect.signature(type(self).__init__).parameters
        return {n: getattr(self, n) for n in names if n != "self" and hasattr(self, n)}

    def __repr__(self) -> str:
        config = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({config})"


class Zeros(Initializer):
    """All zeros."""

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


class Ones(Initializer):
    """All ones."""

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.ones(shape)


class Constant(Initializer):
    """The same number everywhere. Raises RangeError for one that is not finite."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = _number("value", value)

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.value)


class Identity(Initializer):
    """``gain`` on the diagonal of a matrix, else zeros. ShapeError for what is no matrix."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = _number("gain", gain)

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) != 2:
            raise ShapeError(f"Identity is for matrices, not for a weight of shape {shape}")
        return self.gain * np.eye(*shape)


class _Random(Initializer):
    def __init__(self, seed: int | None = None) -> None:
        self.seed = None if seed is None else checked_seed(seed)

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        return self._draw(Numbers(self.seed), math.prod(shape), shape).reshape(shape)

    def _draw(self, numbers: Numbers, count: int, shape: tuple[int, ...]) -> np.ndarray:
        raise NotImplementedError


class RandomUniform(_Random):
    """Uniform from minval up to maxval."""

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval, self.maxval = _number("minval", minval), _number("maxval", maxval)
        super().__init__(seed)

    def _draw(self, numbers: Numbers, count: int, shape: tuple[int, ...]) -> np.ndarray:
        return self.minval + (self.maxval - self.minval) * numbers.uniform(count)


class RandomNormal(_Random):
    """Normal, of this mean and deviation."""

    bound = math.inf

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev = _number("mean", mean), _number("stddev", stddev)
        super().__init__(seed)

    def _draw(self, numbers: Numbers, count: int, shape: tuple[int, ...]) -> np.ndarray:
        return self.mean + self.stddev * numbers.normal(count, self.bound)


class TruncatedNormal(RandomNormal):
    """As RandomNormal; what is two deviations or more from the mean is drawn again."""

    bound = 2.0


class VarianceScaling(_Random):
    """Of variance scale / n, n the fan_in, the fan_out or, fan_avg, the mean of both.

    distribution: "truncated_normal" (at two deviations; "normal" is the same), "untruncated_normal"
    or "uniform", from -sqrt(3 scale / n) to sqrt(3 scale / n).

    Raises RangeError for a scale that is not positive, ConversionError for another mode or
    distribution.
    """

    MODES = ("fan_in", "fan_out", "fan_avg")
    DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        distribution = "truncated_normal" if distribution == "normal" else distribution
        for what, value, known in (
            ("mode", mode, self.MODES),
            ("distribution", distribution, self.DISTRIBUTIONS),
        ):
            if value not in known:
                raise ConversionError(
                    f"VarianceScaling: {what} {value!r:.60} is not known; use {', '.join(known)}"
                )
        self.scale = _number("scale", scale, positive=True)
        self.mode, self.distribution = mode, distribution
        super().__init__(seed)

    def _draw(self, numbers: Numbers, count: int, shape: tuple[int, ...]) -> np.ndarray:
        fan_in, fan_out = fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        scale = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            return math.sqrt(3.0 * scale) * (2.0 * numbers.uniform(count) - 1.0)
        if self.distribution == "untruncated_normal":
            return math.sqrt(scale) * numbers.normal(count)
        return math.sqrt(scale) / TRUNCATED_DEVIATION * numbers.normal(count, 2.0)


class GlorotUniform(VarianceScaling):
    """Uniform of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform of variance 2 / fan_in (He et al. 2015)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal of variance 2 / fan_in (He et al. 2015)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform of variance 1 / fan_in (LeCun et al. 1998)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal of variance 1 / fan_in (LeCun et al. 1998)."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class Orthogonal(_Random):
    """``gain`` times orthonormal rows or columns, whichever are fewer (Saxe et al. 2014); of more
    than two axes all but the last count as rows. ShapeError for a vector."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = _number("gain", gain)
        super().__init__(seed)

    def _draw(self, numbers: Numbers, count: int, shape: tuple[int, ...]) -> np.ndarray:
        from .orthogonal import orthogonal

        if len(shape) < 2:
            raise ShapeError(f"Orthogonal is for matrices, not for a weight of shape {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        high, low = max(rows, columns), min(rows, columns)
        q = orthogonal(numbers.normal(count).reshape(high, low))
        return self.gain * (q.T if rows < columns else q)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: of a convolution's [taps, in, out], in and out times taps."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    taps = math.prod(shape[:-2])
    return shape[-2] * taps, shape[-1] * taps


_CLASSES: tuple[type[Initializer], ...] = (
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal,
    LecunUniform, Ones, Orthogonal, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling,
    Zeros,
)  # fmt: skip

# Keras calls each class by its name in lower case too.
constant, glorot_normal, glorot_uniform, he_normal, he_uniform = (
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform,
)  # fmt: skip
identity, lecun_normal, lecun_uniform, ones, orthogonal = (
    Identity, LecunNormal, LecunUniform, Ones, Orthogonal,
)  # fmt: skip
random_normal, random_uniform, truncated_normal, variance_scaling, zeros = (
    RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, Zeros,
)  # fmt: skip

NAMES: dict[str, type[Initializer]] = {
    **{name: c for c in _CLASSES for name in (c.__name__,)},
    "constant": Constant, "glorot_normal": GlorotNormal, "glorot_uniform": GlorotUniform,
    "he_normal": HeNormal, "he_uniform": HeUniform, "identity": Identity,
    "lecun_normal": LecunNormal, "lecun_uniform": LecunUniform, "ones": Ones, "one": Ones,
    "orthogonal": Orthogonal, "random_normal": RandomNormal, "normal": RandomNormal,
    "random_uniform": RandomUniform, "uniform": RandomUniform,
    "truncated_normal": TruncatedNormal, "variance_scaling": VarianceScaling, "zeros": Zeros,
    "zero": Zeros, "IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal,
}  # fmt: skip


def get(identifier: Any) -> Callable[[tuple[int, ...]], np.ndarray]:
    """The initialiser that an identifier stands for, see above.

    Raises ConversionError, with the list of names, for one that is not known.
    """
    if isinstance(identifier, Mapping):
        name, config = identifier.get("class_name"), identifier.get("config") or {}
        known = NAMES.get(name) if isinstance(name, str) else None
        if known is not None and isinstance(config, Mapping):
            config = {k: v for k, v in config.items() if v is not None}
            try:
                return known(**config)
            except TypeError as e:
                raise ConversionError(f"initializer {name}: {e}") from None
        identifier = name
    if isinstance(identifier, str) and identifier in NAMES:
        return NAMES[identifier]()
    if isinstance(identifier, np.ndarray):
        return _Given(identifier)
    if inspect.isclass(identifier) and issubclass(identifier, Initializer):
        return identifier()
    if callable(identifier) and not inspect.isclass(identifier):
        return identifier  # type: ignore[no-any-return]
    raise ConversionError(
        f"initializer {identifier!r:.60} is not known; use {', '.join(sorted(NAMES))}"
    )


class _Given(Initializer):
    """The numbers themselves."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def _make(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.array.shape != shape:
            raise ShapeError(
                f"an array {self.array.shape} as initializer of a weight of shape {shape}"
            )
        return self.array
