"""Types of the compiled module. Arrays are C-contiguous buffers, float32 unless said otherwise."""

from typing import Any, TypeVar

Buffer = Any
T = TypeVar("T")

version: str
reads_arrays: bool

def targets() -> list[str]: ...
def target_code(name: str) -> int: ...
def target_name(code: int) -> str: ...

MAX_THREADS: int

def set_threads(threads: int) -> None: ...
def set_target(target: int) -> None: ...
def set_grain(grain: int) -> None: ...
def digest(array: Buffer, seed: int = 0) -> int: ...
def apply(target: int, kind: int, alpha: float, beta: float, x: Buffer, y: Buffer) -> None: ...

class Model:
    input_count: int
    output_count: int
    cuttable: bool
    def __init__(self, blob: Buffer) -> None: ...
    @property
    def panel(self) -> int: ...
    def memory(self, batch: int, time: int) -> list[dict[str, int]]: ...

class Session:
    model: Model
    batch: int
    time: int
    requested: int
    threads: int
    arena_bytes: int
    @property
    def target(self) -> int: ...
    def __init__(
        self, model: Model, batch: int, time: int, target: int, threads: int = 1
    ) -> None: ...
    def reset(self) -> None: ...
    def run(
        self,
        inputs: list[Any],
        outputs: list[Any],
        batch: int,
        times: list[int],
        lengths: Buffer | None,
        keep: bool,
    ) -> None: ...
    def states(self) -> list[tuple[str, str, int]]: ...
    def state_read(self, index: int, array: Buffer, batch: int) -> None: ...
    def state_write(self, index: int, array: Buffer, batch: int) -> None: ...

class Stream:
    _session: Session

def fast_step(cls: type[T]) -> type[T]: ...

class Sessions:
    batch: int
    time: int
    target: int
    threads: int
    def __init__(self, model: Model, batch: int, time: int, target: int, threads: int) -> None: ...
    def take(self) -> Session: ...
    def give(self, session: Session) -> None: ...

class Predictor:
    def _forget(self) -> None: ...
    def _remember(
        self,
        sessions: Sessions,
        session: Session,
        x: Buffer,
        y: Buffer,
        batch: int,
        times: list[int],
    ) -> None: ...

def fast_predict(cls: type[T]) -> type[T]: ...
def freeze(model: Model, time: int) -> dict[str, Any]: ...
def freeze_training(model: Model, time: int, frozen: bytes, recompute: bool) -> dict[str, Any]: ...
def optimizer_slots(values: tuple[Any, ...]) -> int: ...

class Trainer:
    model: Model
    batch: int
    time: int
    arena_bytes: int
    optimizer: tuple[int, float, float]
    def __init__(
        self,
        model: Model,
        batch: int,
        time: int,
        target: int,
        threads: int = 1,
        frozen: bytes | None = None,
        slots: int = 0,
        input_gradients: bool = False,
        carry: bool = False,
        recompute: bool = False,
        frugal: bool = False,
        dropouts: tuple[tuple[int, int, float], ...] = (),
    ) -> None: ...
    def run(
        self,
        inputs: list[Any],
        batch: int,
        times: list[int],
        lengths: Buffer | None,
        *,
        outputs: list[Any] | None = None,
        losses: list[Any] | None = None,
        truths: list[Any] | None = None,
        weights: list[Any] | None = None,
        scales: list[Any] | None = None,
        values: list[Any] | None = None,
        gradients: list[Any] | None = None,
        input_gradients: list[Any] | None = None,
        backward: bool = True,
        seed: int = 0,
        step: int = 0xFFFFFFFF,
    ) -> None: ...
    def back(self, gradients: list[Any], input_gradients: list[Any]) -> None: ...
    def update(self, optimizer: tuple[Any, ...]) -> None: ...
    def clear(self) -> None: ...
    def reset(self) -> None: ...
    def states(self) -> list[tuple[str, str, int]]: ...
    def state(self, index: int, array: Buffer, write: bool) -> None: ...
    def trained(self, index: int) -> tuple[int, int, int, int, int] | None: ...
    def read(self, index: int, what: int, array: Buffer) -> None: ...
    def write(self, index: int, what: int, array: Buffer) -> None: ...
