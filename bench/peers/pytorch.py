"""PyTorch in inference mode: modules, the functions behind them, modules traced and frozen.

Measured and left out: torch.compile (slower than eager: the kernel is one call already) and nn.LSTM
for single steps (70 us, where the cell's function takes 13 us).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import Form

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g


class PyTorch:
    name = "PyTorch"
    package = "torch"

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        import torch

        if case.kind == "peephole":
            return []
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
        torch.set_num_threads(threads)
        self._enter(torch)
        make = _steps if case.step else _sequences
        if case.kind in ("conv1d", "dense"):
            make = _plain
        calls = make(torch, case, layers, x)
        return [Form(n, call, read) for n, (call, read) in calls.items()]

    def _enter(self, torch: Any) -> None:
        """Inference mode, for good: to enter it takes 1.5 us, which a serving loop doesn't pay."""
        if not torch.is_inference_mode_enabled():
            self._mode = torch.inference_mode()
            self._mode.__enter__()


Calls = dict[str, tuple[Callable[[], Any], Callable[[Any], np.ndarray]]]


def _weights(torch: Any, layers: list[g.Layer]) -> list[Any]:
    """weight_ih, weight_hh, bias_ih, bias_hh (, weight_hr) of each layer, in PyTorch's order."""
    flat = []
    for layer in layers:
        if not hasattr(layer, "weight_ih"):
            continue
        second = np.zeros_like(layer.bias)
        if getattr(layer, "recurrent_bias", None) is not None:
            second[-len(layer.recurrent_bias) :] = layer.recurrent_bias
        arrays = [layer.weight_ih, layer.weight_hh, layer.bias, second]
        if getattr(layer, "weight_hr", None) is not None:
            arrays.append(layer.weight_hr)
        flat += [torch.from_numpy(a.copy()) for a in arrays]
    return flat


def _steps(torch: Any, case: Case, layers: list[g.Layer], x: np.ndarray) -> Calls:
    weights = _weights(torch, layers)
    shared = torch.from_numpy(x)
    state: list[Any] = [torch.zeros(case.batch, case.features)]
    if case.kind == "projected":  # there is no cell with projection
        carried = (torch.zeros(1, 1, case.features), torch.zeros(1, 1, case.hidden_size))
        held = [carried]

        def projected() -> Any:
            y, h, c = torch.lstm(shared, held[0], weights, True, 1, 0.0, False, False, False)
            held[0] = (h, c)
            return y

        return {"lstm": (projected, _numpy)}
    row = shared[0]
    if case.kind == "lstm":
        state.append(torch.zeros(case.batch, case.hidden_size))

        def lstm() -> Any:
            state[:] = torch.lstm_cell(row, state, *weights)
            return state[0]

        return {"lstm_cell": (lstm, _numpy)}
    cell = torch.gru_cell if case.kind == "gru" else torch.rnn_tanh_cell

    def step() -> Any:
        state[0] = cell(row, state[0], *weights)
        return state[0]

    cls = torch.nn.GRUCell if case.kind == "gru" else torch.nn.RNNCell
    module = cls(case.input_size, case.hidden_size).eval()
    for own, given in zip(module.parameters(), weights, strict=True):
        own.data.copy_(given)
    quick = _traced(torch, module, row, state[0])
    other = [state[0]]

    def traced() -> Any:
        other[0] = quick(row, other[0])
        return other[0]

    return {"cell": (step, _numpy), "traced cell": (traced, _numpy)}


def _traced(torch: Any, module: Any, *example: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is on its way out, and still the faster form of a GRU
        return torch.jit.freeze(torch.jit.trace(module, example))


def _sequences(torch: Any, case: Case, layers: list[g.Layer], x: np.ndarray) -> Calls:
    kinds = {"gru": torch.nn.GRU, "rnn": torch.nn.RNN}
    more = {"proj_size": case.features} if case.kind == "projected" else {}
    module = kinds.get(case.kind, torch.nn.LSTM)(
        case.input_size, case.hidden_size, bidirectional=case.kind == "bilstm", **more
    ).eval()
    weights = _weights(torch, layers)
    for own, given in zip(module._flat_weights, weights, strict=True):
        own.data.copy_(given)
    shared = torch.from_numpy(x)
    directions = 2 if case.kind == "bilstm" else 1
    h = torch.zeros(directions, case.batch, case.features // directions)
    c = torch.zeros(directions, case.batch, case.hidden_size)
    state: Any = h if case.kind in kinds else (h, c)
    function = {"gru": torch.gru, "rnn": torch.rnn_tanh}.get(case.kind, torch.lstm)
    flags = (True, 1, 0.0, False, directions == 2, False)
    traced = _traced(torch, module, shared)
    return {
        "traced module": (lambda: traced(shared)[0], _numpy),
        "module": (lambda: module(shared)[0], _numpy),
        "function": (lambda: function(shared, state, weights, *flags)[0], _numpy),
    }


def _plain(torch: Any, case: Case, layers: list[g.Layer], x: np.ndarray) -> Calls:
    (layer,) = layers
    weight, bias = (torch.from_numpy(a.copy()) for a in (layer.weight, layer.bias))
    if case.kind == "dense":
        shared = torch.from_numpy(x)
        return {"linear": (lambda: torch.nn.functional.linear(shared, weight, bias), _numpy)}
    kernel = weight.reshape(case.hidden_size, layer.taps, case.input_size)
    kernel = kernel.transpose(1, 2).contiguous()
    turned = torch.from_numpy(x).transpose(1, 2).contiguous()
    return {
        "conv1d": (
            lambda: torch.conv1d(turned, kernel, bias, padding=layer.before),
            lambda y: y.transpose(1, 2).numpy(),
        )
    }


def _numpy(y: Any) -> np.ndarray:
    return y.numpy()
