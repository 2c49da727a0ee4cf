"""What all layers have in common, and how their fields say what a file stores of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import ConversionError
from .values import Spec, Steps


class ClockConflict(ConversionError):
    """A layer joins values that go by different clocks: those must be one and the same."""

    def __init__(self, message: str, first: str, second: str) -> None:
        super().__init__(message)
        self.first, self.second = first, second


class OpenSteps(ConversionError):
    """A layer needs a known number of steps, and a clock leaves it open."""

    def __init__(self, message: str, clock: str) -> None:
        super().__init__(message)
        self.clock = clock


def panels(gates: int, *, vector: bool = False, extra: bool = False) -> Any:
    """A weight [gates * units, k] that files store packed; as a vector (k = 1), [gates * units].

    Vectors may be None, and so may what is extra: that is left out at the end of a layer's record.
    """
    meta = {"tensor": {"gates": gates, "vector": vector, "extra": extra}}
    return field(default=None, metadata=meta) if vector or extra else field(metadata=meta)


def param(default: Any = dataclasses.MISSING, *, choices: tuple[str, ...] = ()) -> Any:
    """A parameter that files store in 32-bit words: int, bool and float one, :class:`Fn` three, a
    str its place in ``choices``; a tuple of ints, which must be the last, one each."""
    return field(default=default, metadata={"param": True, "choices": choices})


def option(default: Any, *, choices: tuple[str, ...] = ()) -> Any:
    """A parameter that may be left out at the end of a layer's record: it has its default then."""
    return field(default=default, metadata={"param": True, "choices": choices, "option": True})


@dataclass(kw_only=True)
class Layer:
    """One step of the graph: names of the values read and written, parameters, weights.

    An output that nobody reads may be None, and so may an input that a layer calls optional.
    """

    code: ClassVar[int]  # the layer's number in files and in the core; never renumber
    name: str
    inputs: tuple[str | None, ...]
    outputs: tuple[str | None, ...]

    def infer(self, *specs: Any) -> tuple[Spec, ...]:
        """The specs of all outputs, from those of the inputs (None for an absent one).

        Raises ConversionError if they don't fit, :class:`ClockConflict` and :class:`OpenSteps`
        where a converter can still make them fit.
        """
        raise NotImplementedError

    def whole(self, *specs: Any) -> str:
        """Why this layer can't go step by step: what it needs of the sequence; "" if it can."""
        return ""

    def misfit(self, specs: tuple[Any, ...], sizes: Mapping[str, int]) -> str:
        """Why a call is refused with these steps of the clocks, for inputs of these specs; "" if it
        isn't. That a value is left without steps is not for a layer to say."""
        return ""

    def multiply_adds(self, *specs: Any) -> int:
        """Multiply-adds for one row and one time step, elementwise work left out; ``specs`` are
        those of the inputs."""
        return 0

    @classmethod
    def tensor_fields(cls) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, storage metadata) of each weight, in file order."""
        for f in dataclasses.fields(cls):
            if "tensor" in f.metadata:
                yield f.name, f.metadata["tensor"]

    @classmethod
    def param_fields(cls) -> Iterator[dataclasses.Field[Any]]:
        """The field of each parameter, in file order."""
        for f in dataclasses.fields(cls):
            if "param" in f.metadata:
                yield f

    def tensors(self) -> Iterator[tuple[str, dict[str, Any], np.ndarray | None]]:
        """(name, storage metadata, array or None) of each weight, in file order."""
        for name, meta in self.tensor_fields():
            yield name, meta, getattr(self, name)

    def params(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of each parameter, in file order."""
        for f in self.param_fields():
            yield f.name, getattr(self, f.name)

    def __post_init__(self) -> None:
        for name, meta, array in self.tensors():
            if array is None:
                if not meta["vector"] and not meta["extra"]:
                    raise self.error(f"{name} is missing")
                continue
            setattr(self, name, np.ascontiguousarray(array, dtype=np.float32))
        for f in self.param_fields():
            choices = f.metadata["choices"]
            if choices and getattr(self, f.name) not in choices:
                raise self.error(f"{f.name} is {getattr(self, f.name)!r}, not one of {choices}")

    def rename(self, names: Mapping[str, str]) -> None:
        """Read and write values under other names; those not in ``names`` keep theirs."""
        self.inputs = tuple(n if n is None else names.get(n, n) for n in self.inputs)
        self.outputs = tuple(n if n is None else names.get(n, n) for n in self.outputs)

    def error(self, text: str) -> ConversionError:
        return ConversionError(f"layer '{self.name}': {text}")

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        array = getattr(self, name)
        if array is not None and array.shape != shape:
            raise self.error(f"{name} has shape {array.shape}, expected {shape}")

    def _matrix(self, name: str, expected: str, gates: int = 1) -> None:
        shape = getattr(self, name).shape
        if len(shape) != 2 or shape[0] % gates or 0 in shape:
            raise self.error(f"{name} has shape {shape}, expected {expected}")

    def _features(self, spec: Spec, expected: int) -> None:
        if spec.features != expected:
            raise self.error(f"gets {spec.features} features, its weights take {expected}")

    def _timed(self, spec: Spec) -> Steps:
        """The steps of an input that must have some."""
        if spec.time is None:
            raise self.error("its input has no time axis")
        return spec.time

    def _constant(self, spec: Spec) -> int:
        """The number of steps of an input, where it must be known."""
        steps = self._timed(spec)
        if steps.clock is not None:
            raise OpenSteps(
                f"layer '{self.name}': needs a fixed number of time steps, and the model leaves it "
                "open",
                steps.clock,
            )
        if steps.add < 1:
            raise self.error("no time steps are left")
        return steps.add

    def _same_steps(self, first: Steps, second: Steps) -> None:
        """Two inputs go step by step together."""
        if first == second:
            return
        if first.clock != second.clock and first.clock and second.clock:
            raise ClockConflict(
                f"layer '{self.name}': joins sequences of {first} and {second} steps",
                first.clock,
                second.clock,
            )
        if first.clock != second.clock:
            clock = first.clock or second.clock
            assert clock is not None
            raise OpenSteps(
                f"layer '{self.name}': joins sequences of {first} and {second} steps", clock
            )
        raise self.error(f"joins sequences of {first} and {second} steps")

    def _absent(self, specs: tuple[Any, ...]) -> None:
        if any(s is None for s in specs):
            raise self.error("an input is missing")


def constant_steps(spec: Spec) -> bool:
    """The number of steps is known before the model runs."""
    return spec.time is not None and spec.time.clock is None
