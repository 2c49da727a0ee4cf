"""Streams: a model run step by step, its state kept between calls."""

from __future__ import annotations

import copyreg
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core
from . import graph as g
from .errors import ShapeError
from .runtime import FLOAT32, as_float32, target_code
from .threads import thread_count

if TYPE_CHECKING:
    from .model import Model

# By layer, then by state; of a stateful model, arrays by the source's inputs.
State = dict[str, Any]

# Steps that one call into the core takes at most; longer chunks are cut. No bit depends on it.
CHUNK = 64


@_core.fast_step
class Stream(_core.Stream):
    """``batch`` independent rows going on through time. Made by :meth:`lstmc.Model.stream`.

    A stream belongs to one thread at a time. It can be pickled: model and state go along.
    """

    def __init__(self, model: Model, batch: int = 1) -> None:
        if not all(v.spec.time for v in model.graph.inputs):
            raise ShapeError("stream is for sequence models: an input has no time axis")
        if any(v.clock is None for v in model.graph.inputs):
            raise ShapeError("stream is for open sequences: an input has a fixed number of steps")
        if reason := model.graph.whole():
            raise ShapeError(f"stream is for causal models: {reason}")
        try:
            batch = operator.index(batch)
        except TypeError:
            raise ShapeError(f"batch is a number of rows, not {batch!r}") from None
        if not 1 <= batch < 1 << 30:
            raise ShapeError(f"a stream needs at least one row and less than 2^30, not {batch}")
        if batch > 1 and model.graph.one_row:
            raise ShapeError(f"the model takes one row, not {batch}: a value has no batch axis")
        self.model = model
        self.batch = batch
        target = target_code()
        # Single steps need no memory for chunks of time; run() makes room when it is first used.
        self._core, self._blob = model._core, model._blob  # training may exchange the model's
        self._session = _core.Session(self._core, batch, 1, target, thread_count())
        self._values = model.graph.inputs
        self._states = self._session.states()
        self._bound = [b.input for b in model.graph.bindings]
        self._clocks = max(len(model.graph.clocks), 1)
        self._in_shapes = [(batch, v.spec.features) for v in model.graph.inputs]
        self._out_shapes = [(batch, v.spec.features) for v in model.graph.outputs]

    def step(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        out: np.ndarray | None = None,
    ) -> np.ndarray | dict[str, np.ndarray]:
        """One time step.

        Args:
            x: float32 [batch, features], or a dict of those by input name.
            out: a C-contiguous float32 array [batch, features] to write to, for a model with one
                output; the call then allocates nothing. It must not overlap x.

        Returns:
            float32 [batch, features], or a dict by output name. A model that gives only the last
            step gives what it would give if the sequence ended here.

        Raises:
            ShapeError, DtypeError: the state has not changed then.
        """
        # What is not a float32 array for the only input, or asks for more: see _core.fast_step.
        if len(self._in_shapes) == 1 and not isinstance(x, Mapping):
            given = [x]
        else:
            given = self._by_name(x)
        arrays = []
        for v, a, shape in zip(self._values, given, self._in_shapes, strict=True):
            if type(a) is not np.ndarray or a.dtype != np.float32 or not a.flags.c_contiguous:
                a = as_float32(v.name, a)
            if a.shape != shape:
                raise ShapeError(f"'{v.name}' has shape {a.shape}, expected {shape} for a step")
            arrays.append(a)
        if out is None:
            outputs = [np.empty(shape, np.float32) for shape in self._out_shapes]
        else:
            if len(self._out_shapes) != 1:
                raise ShapeError("out= is for models with one output")
            if not isinstance(out, np.ndarray):
                raise ShapeError(f"out is a {type(out).__name__}, expected a numpy array")
            if out.shape != self._out_shapes[0] or out.dtype != np.float32:
                raise ShapeError(
                    f"out is {out.dtype} {out.shape}, expected float32 {self._out_shapes[0]}"
                )
            if not (out.flags.c_contiguous and out.flags.writeable):
                raise ShapeError("out is not a writeable C-contiguous array")
            if any(np.may_share_memory(out, a) for a in arrays):
                raise ShapeError("out overlaps the input: later units would read it")
            outputs = [out]
        self._run_step(arrays, outputs)
        if len(outputs) == 1:
            return outputs[0]
        return {v.name: y for v, y in zip(self.model.graph.outputs, outputs, strict=True)}

    def run(self, x: ArrayLike | Mapping[str, ArrayLike]) -> np.ndarray | dict[str, np.ndarray]:
        """A chunk of any number of steps, in the model's own shape and axis order.

        Bit for bit the same as as many calls of :meth:`step`, and faster. Raises as step does.
        """
        arrays, time = self._take_chunk(x)
        if time == 0 and not all(v.spec.time for v in self.model.graph.outputs):
            raise ShapeError("a chunk of zero time steps has no last step")
        times = [time] * self._clocks
        outputs = [np.empty(v.of(self.batch, times), FLOAT32) for v in self.model._outputs]
        if time:
            if time > 1 and self._session.time == 1:
                self._grow(CHUNK)
            if not self._core.cuttable and time > self._session.time:
                self._grow(time)
            self._session.run(arrays, outputs, self.batch, times, None, True)
        return self.model._give(outputs)

    def reset(self) -> None:
        """All states to zero."""
        self._session.reset()

    @property
    def state(self) -> State:
        """A copy of the states: {layer name: {"h": float32 [batch, H], "c": ...}}.

        Of a stateful model (:attr:`lstmc.Model.states`): {input of the source: float32 array in the
        source's own shape}.

        Assign a dict of the same form to go on from there; ShapeError if it doesn't fit, and the
        state has not changed then. Magnitudes below 2^-64 become zero.
        """
        state: State = {}
        for i, (layer, name, features) in enumerate(self._states):
            array = np.empty((self.batch, features), np.float32)
            self._session.state_read(i, array, self.batch)
            if self._bound:
                state[layer] = _turned(self._bound[i], array, self._bound[i].time or 1)
                continue
            state.setdefault(layer, {})[name] = array
        return state

    @state.setter
    def state(self, value: Mapping[str, Any]) -> None:
        arrays = self._bound_arrays(value) if self._bound else self._layer_arrays(value)
        for i, array in enumerate(arrays):
            self._session.state_write(i, array, self.batch)

    def _bound_arrays(self, value: Mapping[str, ArrayLike]) -> list[np.ndarray]:
        """The states of a stateful model as rows, checked."""
        names = [v.name for v in self._bound]
        if not isinstance(value, Mapping) or set(value) != set(names):
            raise ShapeError(f"a state is a dict of arrays by name, of {names}")
        arrays = []
        for v in self._bound:
            array = as_float32(v.name, value[v.name])
            if array.shape != v.shape(self.batch):
                raise ShapeError(
                    f"state '{v.name}' has shape {array.shape}, expected {v.shape(self.batch)}"
                )
            rows = array.transpose(_row_order(v)).reshape(self.batch, -1)
            arrays.append(np.ascontiguousarray(rows))
        return arrays

    def _layer_arrays(self, value: Mapping[str, Mapping[str, ArrayLike]]) -> list[np.ndarray]:
        """The states of all layers, checked."""
        arrays = []
        if not isinstance(value, Mapping) or not all(
            isinstance(v, Mapping) for v in value.values()
        ):
            raise ShapeError("a state is a dict of dicts: {layer: {name: array}}")
        if set(value) != {layer for layer, _, _ in self._states}:
            raise ShapeError(
                f"state has layers {sorted(value)}, "
                f"expected {sorted({layer for layer, _, _ in self._states})}"
            )
        for layer, name, features in self._states:
            names = {n for other, n, _ in self._states if other == layer}
            if set(value[layer]) != names:
                raise ShapeError(f"state of '{layer}' has {sorted(value[layer])}, expected {names}")
            array = as_float32(f"{layer}.{name}", value[layer][name])
            if array.shape != (self.batch, features):
                raise ShapeError(
                    f"state {layer}.{name} has shape {array.shape}, "
                    f"expected {(self.batch, features)}"
                )
            arrays.append(array)
        return arrays

    def _take_chunk(self, x: ArrayLike | Mapping[str, ArrayLike]) -> tuple[list[np.ndarray], int]:
        """Checked dense arrays in the order of the inputs, and their steps."""
        if len(self._values) == 1 and type(x) is np.ndarray:  # as it mostly is
            a = as_float32(self._values[0].name, x)
            found = self.model._inputs[0].sizes(a.shape)
            if found is not None and found[0] == self.batch:
                return [a], found[1]
        given = self._by_name(x) if isinstance(x, Mapping) or len(self._values) > 1 else [x]
        arrays, time = [], None
        for v, given_a in zip(self._values, given, strict=True):
            a = as_float32(v.name, given_a)
            fits = a.ndim == len(v.axes)
            if fits and time is None:
                time = a.shape[v.axes.index(g.TIME)]
            sizes: dict[Any, Any] = {g.BATCH: self.batch, g.TIME: time}
            if not fits or a.shape != tuple(sizes.get(n, n) for n in v.axes):
                want = tuple(self.batch if n == g.BATCH else n for n in v.axes)
                raise ShapeError(f"'{v.name}' has shape {a.shape}, expected {want} for a chunk")
            arrays.append(a)
        assert time is not None
        return arrays, time

    def _by_name(self, x: ArrayLike | Mapping[str, ArrayLike]) -> list[Any]:
        names = [v.name for v in self._values]
        if not isinstance(x, Mapping) or set(x) != set(names):
            raise ShapeError(f"give a dict by input name, of {names}")
        return [x[n] for n in names]

    def _run_step(self, arrays: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        """One step of [batch, features] arrays, which the model may want in another order."""
        graph, given, made = self.model.graph, arrays, outputs
        if any(_rows_apart(v) for v in graph.inputs):
            given = [_turned(v, a) for v, a in zip(graph.inputs, arrays, strict=True)]
        if any(_rows_apart(v) for v in graph.outputs):
            made = [_turned(v, a) for v, a in zip(graph.outputs, outputs, strict=True)]
        self._session.run(given, made, self.batch, [1] * self._clocks, None, True)
        for v, own, a in zip(graph.outputs, made, outputs, strict=True):
            if own is not a:
                order = _row_order(v)
                shape = [own.shape[i] for i in order]
                a.reshape(shape)[...] = own.transpose(order)

    def _grow(self, time: int) -> None:
        """Exchange the session for one that takes chunks, else the same."""
        state = self.state
        old = self._session
        self._session = _core.Session(self._core, self.batch, time, old.target, old.threads)
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        # As object does it, which refuses the oldest protocols for a class with a compiled base.
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        from .model import Model

        same = self.model._blob is self._blob
        model = self.model if same else Model(self._blob)
        return {"model": model, "batch": self.batch, "state": self.state}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(saved["model"], saved["batch"])  # type: ignore[misc]
        self.state = saved["state"]


def _rows_apart(value: g.Value) -> bool:
    """Sizes stand before the batch axis: rows don't follow one another in memory."""
    rows = value.axes.index(g.BATCH) if g.BATCH in value.axes else 0
    before = value.axes[:rows]
    return any(not isinstance(a, str) and a != 1 for a in before)


def _row_order(value: g.Value) -> list[int]:
    """The axes of a value with batch in front, then time."""
    first = [value.axes.index(a) for a in (g.BATCH, g.TIME) if a in value.axes]
    return first + [i for i in range(len(value.axes)) if i not in first]


def _turned(value: g.Value, rows: np.ndarray, time: int = 1) -> np.ndarray:
    """[batch, features] of one step, or [batch, time * features], in the value's own order."""
    order = _row_order(value)
    shape = value.shape(rows.shape[0], time)
    a = rows.reshape([shape[i] or 1 for i in order])
    return np.ascontiguousarray(a.transpose(np.argsort(order)))
