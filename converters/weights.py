"""Weights as other frameworks store them, made into what the graph's layers take.

Used by both routes of the PyTorch converter, live modules and state_dict files, so that the two
give the same bits. Nothing here imports torch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmc import graph as g
from lstmc.errors import ConversionError, FormatError

from . import gates

# Element types of tensors in files: numpy's name of each without byte order. numpy has no
# bfloat16; its bits are the upper half of a float32's.
DTYPES = {
    "float32": "f4",
    "float64": "f8",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}
MAX_RANK = 32  # numpy 1's limit; numpy 2 allows 64

Get = Callable[[str], np.ndarray | None]  # a weight by its key in the state_dict, None if absent


def itemsize(dtype: str) -> int:
    return np.dtype(DTYPES[dtype]).itemsize


@dataclass
class Storage:
    """A run of elements in a file. ``data`` may be filled in after tensors refer to it."""

    dtype: str
    numel: int
    data: memoryview | None = None
    byteorder: str = "little"


@dataclass
class StoredTensor:
    """A strided view of a :class:`Storage`: offset and strides count elements.

    Checked here once and for all, so that :meth:`array` can't read outside the storage. A view
    with more elements than its storage (an expanded tensor) is refused: a few bytes of file
    could otherwise ask for any amount of memory.
    """

    storage: Storage
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or len(self.shape) > MAX_RANK:
            raise FormatError("corrupt file: a tensor's shape and strides don't fit together")
        if any(type(n) is not int or not 0 <= n < 2**63 for n in numbers):
            raise FormatError("corrupt file: a tensor's shape, strides or offset is out of range")
        if 0 in self.shape:
            return
        last = self.offset + sum((d - 1) * s for d, s in zip(self.shape, self.strides, strict=True))
        if last >= self.storage.numel or math.prod(self.shape) > self.storage.numel:
            raise FormatError("corrupt file: a tensor reaches beyond its storage")

    @property
    def dtype(self) -> str:
        return self.storage.dtype

    def array(self) -> np.ndarray:
        """A copy in the machine's byte order; bfloat16 widened to float32."""
        s = self.storage
        if s.dtype not in DTYPES:
            raise ConversionError(f"tensors of dtype {s.dtype} are not supported")
        dtype = np.dtype(DTYPES[s.dtype]).newbyteorder("<" if s.byteorder == "little" else ">")
        if 0 in self.shape:
            return np.zeros(self.shape, dtype=dtype.newbyteorder("="))
        if s.data is None or len(s.data) != s.numel * dtype.itemsize:
            raise FormatError("truncated file: a tensor's elements are missing")
        flat = np.frombuffer(s.data, dtype=dtype)[self.offset :]
        strides = [n * dtype.itemsize for n in self.strides]
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False)
        out = view.astype(dtype.newbyteorder("="), order="C")
        if s.dtype == "bfloat16":
            out = (out.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return out


def float32(name: str, array: np.ndarray) -> np.ndarray:
    """A weight as contiguous float32, exactly, or ConversionError.

    float16 (and bfloat16, widened before) always fits. float64 fits if every value is a float32.
    """
    if array.dtype.kind != "f":
        raise ConversionError(f"parameter '{name}' has dtype {array.dtype}, expected float32")
    if not np.isfinite(array).all():
        raise ConversionError(
            f"parameter '{name}' holds NaN or infinite values; the model is not usable as it is"
        )
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(array, dtype=np.float32)
    if array.dtype.itemsize > 4 and not np.array_equal(out, array):
        raise ConversionError(
            f"parameter '{name}' is {array.dtype} with values that float32 can't hold; "
            "round the model first: model.float()"
        )
    return out


def torch_array(name: str, tensor: Any) -> np.ndarray:
    """A live torch tensor as numpy, bfloat16 widened to float32."""
    torch = sys.modules["torch"]
    try:
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as e:
        raise ConversionError(
            f"parameter '{name}' can't be read as an array: {str(e).splitlines()[0]}"
        ) from e


def printable(text: str) -> str:
    """Text out of a file for an error message, which is one short line whatever the file holds."""
    return ascii(text[:80])[1:-1]


def join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


GATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "LSTM": lambda a: gates.lstm("pytorch", a),
    "GRU": lambda a: gates.gru("pytorch", a),
    "RNN": lambda a: a,
}
GATE_COUNTS = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    kind: str, get: Get, prefix: str, suffix: str = "", projection: bool = False
) -> dict[str, np.ndarray | None]:
    """Weights of one direction of one torch LSTM, GRU or RNN layer, keys ending in ``suffix``.

    torch adds b_ih and b_hh to the products one after the other; lstmc takes their float32 sum,
    but for the candidate of a GRU, n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), where b_hn stays
    by itself. Sources: torch.nn.LSTM, GRU and RNN, "Variables" (weight_hr: the projection), and
    torch.nn.LSTMCell for the keys without a suffix.
    """
    found = {}
    count = GATE_COUNTS[kind]
    size = f"{count} * hidden_size" if count > 1 else "hidden_size"
    keys = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    for key in keys:
        name = join(prefix, key + suffix)
        array = get(name)
        rank = 2 if key.startswith("weight") else 1
        if array is None:
            if rank == 2:
                raise ConversionError(f"{kind} '{prefix}': its weight '{name}' is missing")
            continue
        if array.ndim != rank or array.shape[0] % count:
            shape = f"[{size}]" if rank == 1 else f"[{size}, ...]"
            raise ConversionError(
                f"{kind} '{prefix}': '{name}' has shape {list(array.shape)}, expected {shape}"
            )
        found[key] = GATES[kind](float32(name, array))
    b_ih, b_hh = found.get("bias_ih"), found.get("bias_hh")
    if (b_ih is None) != (b_hh is None):
        raise ConversionError(
            f"{kind} '{prefix}': has one of bias_ih{suffix}, bias_hh{suffix} only"
        )
    out: dict[str, np.ndarray | None] = {
        "weight_ih": found["weight_ih"], "weight_hh": found["weight_hh"], "bias": None
    }  # fmt: skip
    if b_ih is not None and b_hh is not None:
        if b_ih.shape != b_hh.shape:
            raise ConversionError(f"{kind} '{prefix}': bias_ih and bias_hh differ in shape")
        if kind == "GRU":
            summed = 2 * len(b_hh) // 3
            out["recurrent_bias"] = b_hh[summed:]
            b_hh = np.concatenate([b_hh[:summed], np.zeros_like(b_hh[summed:])])
        with np.errstate(over="ignore"):
            out["bias"] = float32(join(prefix, "bias_ih + bias_hh"), b_ih + b_hh)
    if projection:
        name = join(prefix, "weight_hr" + suffix)
        array = get(name)
        if array is None:
            raise ConversionError(f"{kind} '{prefix}': its weight '{name}' is missing")
        out["weight_hr"] = float32(name, array)
    return out


def linear(get: Get, prefix: str) -> dict[str, np.ndarray | None]:
    """weight and bias of one torch Linear. Source: torch.nn.Linear, y = x A^T + b."""
    name = join(prefix, "weight")
    weight, bias = get(name), get(join(prefix, "bias"))
    if weight is None:
        raise ConversionError(f"Linear '{prefix}': its weight '{name}' is missing")
    return {
        "weight": float32(name, weight),
        "bias": None if bias is None else float32(join(prefix, "bias"), bias),
    }


# Functions of a cell or a layer by the names they have in torch.nn.functional (and in Keras), with
# alpha and beta as torch has them.
ACTIVATIONS: dict[str, tuple[str, float, float]] = {
    "linear": ("linear", 0, 0),
    "sigmoid": ("sigmoid", 0, 0),
    "tanh": ("tanh", 0, 0),
    "relu": ("relu", 0, 0),
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "exponential": ("exponential", 0, 0),
    "relu6": ("clip", 0, 6),
    "hard_tanh": ("clip", -1, 1),
    "hard_swish": ("hard_silu", 1 / 6, 0.5),
    "leaky_relu": ("leaky_relu", 0.01, 0),
    "elu": ("elu", 1, 0),
    "selu": ("selu", 1.6732632423543772, 1.0507009873554805),
    "celu": ("celu", 1, 0),
    "gelu": ("gelu", 0, 0),
    "gelu_tanh": ("gelu_tanh", 0, 0),
    "silu": ("silu", 1, 0),
    "swish": ("silu", 1, 0),
    "mish": ("mish", 0, 0),
    "softplus": ("softplus", 0, 0),
    "softsign": ("softsign", 0, 0),
    "log_sigmoid": ("log_sigmoid", 0, 0),
    "tanh_shrink": ("tanh_shrink", 0, 0),
    "soft_shrink": ("soft_shrink", 0.5, 0),
    "hard_shrink": ("hard_shrink", 0.5, 0),
}


def function(kind: str, alpha: float = 0.0, beta: float = 0.0) -> g.Fn:
    return g.Fn(kind, float(alpha), float(beta))
