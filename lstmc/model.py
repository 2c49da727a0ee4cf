"""Models: converted or loaded; only training changes them; safe to share between threads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core, format
from . import graph as g
from .errors import ConversionError, FormatError, RangeError, ShapeError
from .runtime import FLOAT32, as_float32, digest, row_lengths, target_code
from .samples import enough_steps, index_inputs, random_inputs
from .threads import thread_count
from .trainable import Plan, Trainable

if TYPE_CHECKING:
    from .stream import Stream

# Sessions for predict: this many rows at once keep the registers' tiles full, and inner values of
# a chunk of time stay within about a megabyte.
MAX_ROWS = 256
CHUNK_FLOATS = 1 << 18
CACHED_SESSIONS = 8  # sizes of sessions kept for the next call
CACHED_SHAPES = 256

GOLDEN_BATCH, GOLDEN_TIME = 2, 16


class _Layout:
    """The shape of an input or output, worked out once: predict is called for single steps too."""

    def __init__(self, value: g.Value, steps: g.Steps | None, clocks: list[str]) -> None:
        self.axes = [0 if isinstance(a, str) else a for a in value.axes]
        self.batch = value.axes.index(g.BATCH) if g.BATCH in value.axes else -1
        self.time = value.axes.index(g.TIME) if g.TIME in value.axes else -1
        self.fixed = value.time
        self.clock = clocks.index(steps.clock) if steps and steps.clock else -1
        self.add, self.every = (steps.add, steps.every) if steps else (1, 1)
        self.last: tuple[tuple[int, ...], tuple[int, int]] = ((), (0, 0))
        self.made: tuple[tuple[int, int], tuple[int, ...]] = ((-1, -1), ())

    def steps(self, times: list[int]) -> int:
        """The number of steps, given those of the clocks."""
        n = times[self.clock] if self.clock >= 0 else 0
        return max((n + self.add) // self.every, 0)

    def of(self, batch: int, times: list[int]) -> tuple[int, ...]:
        """The shape for a batch and the steps of the clocks."""
        n = times[self.clock] if self.clock >= 0 else 0
        known, shape = self.made
        if known != (batch, n):
            shape = self.shape(batch, self.steps(times))
            self.made = (batch, n), shape
        return shape

    def shape(self, batch: int, time: int) -> tuple[int, ...]:
        axes = self.axes.copy()
        if self.batch >= 0:
            axes[self.batch] = batch
        if self.time >= 0:
            axes[self.time] = time
        return tuple(axes)

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, int] | None:
        """Batch and time of a shape, at least 1 each; None if it doesn't fit or needs a word."""
        if len(shape) != len(self.axes):
            return None
        known, sizes = self.last
        if shape == known:
            return sizes
        batch = shape[self.batch] if self.batch >= 0 else 1
        time = shape[self.time] if self.time >= 0 else 1
        if not batch or not time or shape != self.shape(batch, time):
            return None
        if self.fixed and time != self.fixed:
            return None
        self.last = shape, (batch, time)  # one assignment: threads see a pair that fits
        return batch, time


# What __init__ makes of the bytes: made anew, when it is asked for, after training.
MADE = frozenset(
    {
        "_blob", "_by_call", "_choosy", "_clocks", "_core", "_fitting", "_golden", "_graph",
        "_inputs", "_one_row", "_outputs", "_picky", "_plain", "_sessions", "_specs", "_tables",
        "_widest",
    }
)  # fmt: skip


@_core.fast_predict
class Model(Trainable, _core.Predictor):
    """A network, ready to run or to train. Made by :func:`lstmc.convert` or :func:`lstmc.load`.

    Only training changes a model (:meth:`compile`, :meth:`fit`; :meth:`set_weights`); its file's
    bytes are its whole state, so it can be pickled, and shared by threads as long as none trains
    it. A stream keeps the weights that it was opened with. The GIL is released while it computes,
    but for what takes some microseconds; on several threads where that pays
    (:func:`lstmc.set_num_threads`).
    """

    _next: tuple[g.Graph, format.Golden | None, int] | None = None  # what MADE will be made of

    def __init__(self, blob: bytes | bytearray | memoryview | np.ndarray | _OwnBytes) -> None:
        """From the bytes of an .lstmc file. Raises FormatError if they are not a sound model."""
        self._blob = _aligned(blob)
        self._blob.flags.writeable = False
        self._core = _core.Model(self._blob)
        self._graph, self._golden = format.loads(self._blob)
        self._sessions: dict[tuple[int, int, int, int], _core.Sessions] = {}  # by size
        self._by_call: dict[tuple[int, int, int, int], _core.Sessions] = {}
        specs, outside = self._graph.infer(), self._graph.interface
        clocks = self._graph.clocks
        self._clocks = len(clocks)
        self._inputs = [_Layout(v, outside[v.name].time, clocks) for v in self._graph.inputs]
        self._outputs = [_Layout(v, outside[v.name].time, clocks) for v in self._graph.outputs]
        self._widest = max(s.features for s in specs.values())
        self._specs = specs
        self._picky = [x for x in self._graph.layers if type(x).misfit is not g.Layer.misfit]
        # Not every number of steps will do; the last one that did is remembered.
        self._choosy = bool(self._picky) or any(
            s.time and s.time != g.Steps(s.time.clock) for s in specs.values()
        )
        self._fitting: list[int] = []
        self._tables = index_inputs(self._graph)
        self._one_row = self._graph.one_row
        self._plain = len(self._inputs) == len(self._outputs) == 1 and not self._tables

    def __getattr__(self, name: str) -> Any:
        """What training has made out of date, made of the weights of now."""
        if name in MADE:
            self._settle()
            if self._next is not None:
                made = _with_golden(*self._next)
                self.__dict__.update({k: v for k, v in made.__dict__.items() if k in MADE})
                self._next = None
            if name in self.__dict__:  # another thread may have been faster
                return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _drop(self) -> None:
        """The weights are about to change: give up what was made of them."""
        if "_blob" in self.__dict__:
            # The graph from the bytes: that of users may have been changed.
            self._next = (*format.loads(self._blob), self._core.panel or format.DEFAULT_PANEL)
            for name in MADE:
                self.__dict__.pop(name, None)
        self._forget()

    def _plan(self) -> Plan:
        """What training needs of the model."""
        graph, _ = format.loads(self._blob)
        frozen = {n for n, trained in self.trainable.items() if not trained}
        return Plan(graph, frozenset(frozen), [], False)

    def _adopt(self, graph: g.Graph) -> None:
        """Take the weights of a graph like that of :meth:`_plan`."""
        self._drop()
        assert self._next is not None
        self._next = (graph, *self._next[1:])

    # ------------------------------------------------------------------------------- describing

    @property
    def graph(self) -> g.Graph:
        """The layers and weights; changing it does not change the model."""
        return self._graph

    @property
    def inputs(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each input by name, None for batch and for a number of steps left open."""
        return {v.name: v.shape() for v in self._graph.inputs}

    @property
    def outputs(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each output by name, as :attr:`inputs`."""
        fixed = {i.clock: i.fixed for i in self._inputs if i.fixed}
        shapes: dict[str, tuple[int | None, ...]] = {}
        for v, layout in zip(self._graph.outputs, self._outputs, strict=True):
            n = fixed.get(layout.clock) if layout.clock >= 0 else 0
            steps = None if n is None else max((n + layout.add) // layout.every, 0)
            shapes[v.name] = tuple(
                (steps if a == g.TIME else None) if isinstance(a, str) else a for a in v.axes
            )
        return shapes

    @property
    def states(self) -> dict[str, tuple[int | None, ...]]:
        """Of a stateful model (``state=`` of :func:`convert`): shape of each state that its source
        took as an input, by that input's name; None for batch. Other models have none here."""
        return {b.input.name: b.input.shape() for b in self._graph.bindings}

    @property
    def provenance(self) -> dict[str, str]:
        """Where the model comes from: source, file, producer, converter."""
        return dict(self._graph.provenance)

    @property
    def golden(self) -> format.Golden | None:
        """The sample stored in the file, and the digests it must give."""
        return self._golden

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return self._blob.nbytes

    @property
    def panel(self) -> int:
        """Units side by side in the file's weights, 1, 2, 4, 8 or 16; 0 if it has no weights."""
        return self._core.panel

    def summary(self) -> str:
        """A table of the layers: shapes, parameters and multiply-adds a time step."""
        from .summary import summary

        return summary(self)

    def __repr__(self) -> str:
        layers = ", ".join(type(layer).__name__ for layer in self._graph.layers)
        return f"<lstmc.Model {self.inputs} -> {self.outputs}: {layers}>"

    # ---------------------------------------------------------------------------------- running

    def predict(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
        lengths: ArrayLike | None = None,
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Run the model from zero state.

        Args:
            x: one array for a model with one input, else a dict by name; float32, in the source
                model's own shape and axis order (see :attr:`inputs`). float64 is rounded.
            lengths: int [batch], valid time steps of each row, 0 to the number of steps; with
                several inputs, those of the first with time, and of all that go with it. Row b
                gives what that row alone with lengths[b] steps would give: beyond them states
                stand still and a recurrent layer's sequence is zero (layers behind it see
                zeros); a last step is the last valid one, zeros for a row of length 0, and a last
                state of such a row is its initial state.

        Returns:
            float32 array, or a dict by name if the model has several outputs.

        Raises:
            ShapeError: a shape that doesn't fit; the message gives both.
            DtypeError: complex, string or object arrays.
            RangeError: an index beyond an embedding's table.
        """
        arrays, batch, times = self._take(x)
        limits = None if lengths is None else self._take_lengths(lengths, batch, times)
        outputs = [np.empty(v.of(batch, times), FLOAT32) for v in self._outputs]
        if batch and 0 not in times:
            sessions = self._sessions_for(batch, times)
            session = sessions.take()
            session.run(arrays, outputs, batch, times, limits, False)
            if arrays[0] is x and self._plain:  # the next one won't come this way
                self._remember(sessions, session, arrays[0], outputs[0], batch, times)
            sessions.give(session)
        return self._give(outputs)

    def stream(self, batch: int = 1) -> Stream:
        """A stream of ``batch`` rows that keeps state between calls.

        ShapeError, naming the layer, for a model that needs the whole sequence, and for one with
        an input without time steps.
        """
        from .stream import Stream

        return Stream(self, batch)

    def check_golden(self) -> None:
        """Run the stored sample and compare digests; FormatError naming the output that differs."""
        if self._golden is None:
            return
        for name, got in self._run_golden(self._golden).items():
            if got != self._golden.digests[name]:
                raise FormatError(f"golden sample: the digest of '{name}' differs on this machine")

    def _run_golden(self, golden: format.Golden) -> dict[str, int]:
        """The digest of each output of a sample."""
        return {name: digest(y) for name, y in self._run_sample(golden).items()}

    def _run_sample(self, golden: format.Golden) -> dict[str, np.ndarray]:
        batch, times = golden.batch, [golden.time] * max(self._clocks, 1)
        arrays = [np.ascontiguousarray(golden.inputs[v.name]) for v in self._graph.inputs]
        outputs = [np.empty(v.of(batch, times), np.float32) for v in self._outputs]
        session = _core.Session(self._core, batch, golden.time, target_code())
        session.run(arrays, outputs, batch, times, None, False)
        return {v.name: y for v, y in zip(self._graph.outputs, outputs, strict=True)}

    # ----------------------------------------------------------------------------------- saving

    def save(self, path: str | os.PathLike[str], target: str | None = None) -> None:
        """Write the .lstmc file, whole or not at all (a temporary file, then a rename).

        ``target``: packed for a chip first, see :meth:`packed`.
        """
        if target is not None:
            self.packed(target).save(path)
            return
        _write(Path(path), self._blob.data)

    def save_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model as an ONNX file that ONNX Runtime and others run; whole or not at all.

        Inputs and outputs are the source's: names, order of axes, dtypes; batch, and steps that
        are open here, are open there. A stateful model takes and gives its state, as its source
        did, and one call of it is one step here. docs/howto/onnx-out.md says the rest.

        Raises:
            ConversionError: the package onnx is missing, or ONNX can't say it.
        """
        from .onnx_export import to_bytes

        graph, _ = format.loads(self._blob)  # self.graph may have been changed
        _write(Path(path), to_bytes(graph))

    def packed(self, target: str) -> Model:
        """The same model for a chip: its weights in panels of the width that suits the preset
        ``target`` ("m4f", "m55", ...; `lstmc targets --presets` lists them).

        All else stays: names, provenance, golden sample and digests. The width changes no result,
        and every build runs every width (docs/howto/blob.md).

        Raises:
            TargetError: there is no such preset.
        """
        from .presets import find

        graph, golden = format.loads(self._blob)  # self.graph may have been changed
        return Model(format.dumps(graph, golden, find(target).panel))

    def to_bytes(self) -> bytes:
        """The bytes of the .lstmc file."""
        return self._blob.tobytes()

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.to_bytes(),)

    # --------------------------------------------------------------------------------- internals

    def _take(
        self, x: ArrayLike | Mapping[str, ArrayLike]
    ) -> tuple[list[np.ndarray], int, list[int]]:
        """Checked dense arrays in the order of the inputs, their batch, the steps of each clock."""
        values = self._graph.inputs
        # An exact type is asked first: it takes a tenth of the time of isinstance with Mapping.
        if len(values) == 1 and (type(x) is np.ndarray or not isinstance(x, Mapping)):
            a = as_float32(values[0].name, x)
            found = self._inputs[0].sizes(a.shape)
            if found is not None and not (self._one_row and found[0] > 1):
                if self._tables:
                    self._check_indices([a])
                if self._choosy:
                    self._check_steps([found[1]])
                return [a], found[0], [found[1]]
            x = a  # for the message below
        if isinstance(x, Mapping):
            names = [v.name for v in values]
            if set(x) != set(names):
                raise ShapeError(f"got inputs {sorted(map(str, x))}, expected {sorted(names)}")
            given = [x[n] for n in names]
        elif len(values) == 1:
            given = [x]
        else:
            raise ShapeError(
                f"the model has {len(values)} inputs: give a dict by name, of "
                + ", ".join(f"'{v.name}'" for v in values)
            )
        arrays = [as_float32(v.name, a) for v, a in zip(values, given, strict=True)]
        batch, times = self._sizes([a.shape for a in arrays])
        if self._tables:
            self._check_indices(arrays)
        return arrays, batch, times

    def _sizes(self, shapes: list[tuple[int, ...]]) -> tuple[int, list[int]]:
        """The batch and the steps of each clock that arrays of such shapes have; ShapeError."""
        values = self._graph.inputs
        sizes: dict[str, int] = {g.BATCH: 1} if self._one_row else {}
        for v, shape in zip(values, shapes, strict=True):
            if len(shape) != len(v.axes):
                raise ShapeError(f"'{v.name}' has shape {shape}, expected {_show(v)}")
            for axis, n in zip(v.axes, shape, strict=True):
                want: g.Axis = axis
                if axis == g.TIME and v.time:
                    want = v.time
                elif isinstance(axis, str):
                    want = sizes.setdefault((v.clock or "") if axis == g.TIME else axis, n)
                if n != want:
                    raise ShapeError(
                        f"'{v.name}' has shape {shape}, expected {_show(v)}"
                        + (f" with the {axis} size {want}" if isinstance(axis, str) else "")
                    )
            if v.time and v.clock:
                sizes.setdefault(v.clock, v.time)
        times = [sizes[c] for c in self._graph.clocks] or [1]
        if 0 in times:
            for v, layout in zip(self._graph.outputs, self._outputs, strict=True):
                if layout.steps(times):
                    raise ShapeError(f"zero time steps: there is no last step for '{v.name}'")
        elif self._choosy:
            self._check_steps(times)
        return sizes[g.BATCH], times

    def _check_steps(self, times: list[int]) -> None:
        """The graph can run with these steps of its clocks."""
        if times == self._fitting:
            return
        sizes = dict(zip(self._graph.clocks, times, strict=False))
        if reason := self._graph.misfit(self._specs, sizes):
            raise ShapeError(f"{' and '.join(map(str, times))} time steps don't fit: {reason}")
        self._fitting = times.copy()

    def _check_indices(self, arrays: list[np.ndarray]) -> None:
        for v, a in zip(self._graph.inputs, arrays, strict=True):
            entries = self._tables.get(v.name)
            if entries is None or not a.size:
                continue
            if not (a.min() >= 0 and a.max() < entries and np.array_equal(a, np.floor(a))):
                raise RangeError(f"'{v.name}' holds something else than indices 0 to {entries - 1}")

    def _take_lengths(self, lengths: ArrayLike, batch: int, times: list[int]) -> np.ndarray:
        if not self._clocks and any(v.spec.time for v in self._graph.inputs):
            raise ShapeError("lengths: the model takes a fixed number of steps in every row")
        limits = row_lengths(lengths, batch, times[0])
        for n in np.unique(limits) if self._picky else ():
            sizes = dict(zip(self._graph.clocks, [int(n), *times[1:]], strict=False))
            for layer in self._picky:
                specs = tuple(None if i is None else self._specs[i] for i in layer.inputs)
                if reason := layer.misfit(specs, sizes):
                    raise ShapeError(f"lengths: a row of {n} steps: layer '{layer.name}': {reason}")
        return limits

    def _give(self, outputs: list[np.ndarray]) -> np.ndarray | dict[str, np.ndarray]:
        if len(outputs) == 1:
            return outputs[0]
        return {v.name: y for v, y in zip(self._graph.outputs, outputs, strict=True)}

    def _session_size(self, batch: int, times: list[int]) -> tuple[int, int]:
        rows = min(batch, MAX_ROWS)
        if not self._core.cuttable:
            return rows, max(times)
        return rows, min(times[0], max(16, CHUNK_FLOATS // (rows * self._widest)))

    def _sessions_for(self, batch: int, times: list[int]) -> _core.Sessions:
        """Sessions of the right size that no thread uses now; kept, as making one takes time."""
        longest = times[0] if len(times) == 1 else max(times)
        call = (batch, longest, target_code(), thread_count())
        sessions = self._by_call.get(call)
        if sessions is None:
            if len(self._by_call) >= CACHED_SHAPES or len(self._sessions) >= CACHED_SESSIONS:
                self._by_call, self._sessions = {}, {}
                self._forget()
            size = (*self._session_size(batch, times), *call[2:])
            made = _core.Sessions(self._core, *size)
            sessions = self._by_call[call] = self._sessions.setdefault(size, made)
        return sessions


def _is_ours(path: Path) -> bool:
    """A file of lstmc's under a name without an ending, as save may have been given one."""
    if path.suffix or not path.is_file():
        return False
    from .format import MAGIC

    with path.open("rb") as f:
        return f.read(len(MAGIC)) == MAGIC


def load(path: str | os.PathLike[str], *, verify: bool = False) -> Model:
    """Load an .lstmc file, or such a file without an ending; any other path is converted first, as
    by :func:`convert`.

    Args:
        path: the file.
        verify: also run the golden sample stored in the file and compare its digest.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as from open().
        FormatError: the file is damaged, foreign or newer than this library.
        ConversionError: a source that can't be converted.
    """
    path = Path(path)
    if path.suffix.lower() != ".lstmc" and not _is_ours(path):
        return convert(path)
    with path.open("rb") as f:
        size = os.fstat(f.fileno()).st_size
        blob = _empty_aligned(size)
        if f.readinto(blob.data) != size:
            raise FormatError(f"'{path}' could not be read whole")
    try:
        model = Model(_OwnBytes(blob))
    except FormatError as e:
        raise FormatError(f"'{path}': {e}") from None
    if verify:
        model.check_golden()
    return model


def convert(source: Any, **options: Any) -> Model:
    """Convert a trained model, exactly, or refuse.

    Args:
        source: a path (.keras .h5 .pt .pth .safetensors .onnx), a keras.Model, a torch.nn.Module
            or an onnx.ModelProto.
        options: the converter's own, such as ``arch`` for a state_dict, which has no architecture
            (see :mod:`lstmc.converters.from_pytorch`). ``state``, for a source that takes its state
            as inputs and gives the new one as outputs: "stateN:state" says that output stateN of
            one call is what input state takes in the next, so that the model keeps it; several
            with commas between them, a list, or a dict {"stateN": "state"}. States begin at zero
            (see docs/howto/state.md).

    Raises:
        ConversionError: something can't be represented; it names the layer, the option and what to
            do.
        FormatError: a damaged or foreign file.
        FileNotFoundError: no such file.
    """
    from .converters import convert as convert_graph

    return from_graph(convert_graph(source, **options))


def from_graph(graph: g.Graph, panel: int = format.DEFAULT_PANEL) -> Model:
    """A model of a graph, with a golden sample: seeded normal numbers and what they give."""
    graph.infer()
    batch = 1 if graph.one_row else GOLDEN_BATCH
    time = enough_steps(graph, GOLDEN_TIME if graph.clocks else 1)
    inputs = random_inputs(graph, np.random.default_rng(0), batch, time, insist=False)
    return _with_golden(graph, format.Golden(batch, time, inputs), panel)


def _with_golden(graph: g.Graph, golden: format.Golden | None, panel: int) -> Model:
    """A model with the digests that a sample gives now."""
    try:
        if golden is None:
            return Model(format.dumps(graph, None, panel))
        draft = Model(format.dumps(graph, golden, panel))
        golden = format.with_digests(golden, draft._run_golden(golden))
        return Model(format.dumps(graph, golden, panel))
    except FormatError as e:  # the core refuses what the graph allowed: a limit of the format
        raise ConversionError(f"the model can't be stored: {e}") from e


def _show(value: g.Value) -> str:
    """A shape with names: (batch, 100, 10)."""
    parts = [str(value.time) if a == g.TIME and value.time else str(a) for a in value.axes]
    return f"({', '.join(parts)})"


def _write(path: Path, data: bytes | memoryview) -> None:
    """A file, whole or not at all, on the disk when this returns."""
    import tempfile

    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise


class _OwnBytes:
    """Bytes that only the model will hold."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def _empty_aligned(size: int) -> np.ndarray:
    """uint8 [size] at an address that is a multiple of 64, as vector loads like it."""
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _aligned(blob: bytes | bytearray | memoryview | np.ndarray | _OwnBytes) -> np.ndarray:
    """A copy of our own, which nobody can change behind the checks; :func:`load` brings one."""
    if isinstance(blob, _OwnBytes):
        return blob.array
    data = np.frombuffer(blob, np.uint8)
    copy = _empty_aligned(data.size)
    copy[:] = data
    return copy


__all__ = ["Model", "convert", "from_graph", "load"]
