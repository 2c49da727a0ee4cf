"""A live torch.nn.Module to a graph: torch.fx records forward, :mod:`torch_search` finds out what
its inputs are, :mod:`torch_modules` and :mod:`torch_ops` give it meaning.

Source: torch/fx/_symbolic_trace.py (Tracer).
"""

from __future__ import annotations

import inspect
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from lstmc import graph as g
from lstmc.errors import ConversionError

from .torch_inplace import Proxy, check_in_place, op_name
from .torch_search import ADVICE, interpret, leaf_class

_PAIRS = (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN, torch.nn.LSTMCell)
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}


def convert(
    module: Any, example: Any = None
) -> tuple[list[g.Value], dict[str, Any], list[g.Layer]]:
    """Inputs, the structure that forward returns by output name, and layers."""
    while type(module).__name__ in _WRAPPERS and type(module).__module__.startswith("torch."):
        module = getattr(module, _WRAPPERS[type(module).__name__])
    if isinstance(module, torch.jit.ScriptModule):
        raise ConversionError(
            "TorchScript modules are not supported; pass the torch.nn.Module it was made from"
        )
    with _unchanged(module) as stored_proxies:
        graph = _trace(module)
        for attribute in stored_proxies():
            raise ConversionError(
                f"forward stores a computed tensor in '{attribute}'; state that a module keeps "
                "itself is not supported (lstmc keeps it: model.stream()), return it instead"
            )
        check_in_place(graph, module)
        return interpret(graph, module, example)


@contextmanager
def _unchanged(root: torch.nn.Module) -> Iterator[Any]:
    """Everything in evaluation mode, and all attributes as they were afterwards.

    Yields a function that names the attributes that tracing has put tensors without values into.
    """
    saved = []
    for path, m in root.named_modules():
        tables = [m.__dict__, m._parameters, m._buffers, m._modules]
        saved.append((path, m, [(t, dict(t)) for t in tables]))
        m.training = False

    def stored() -> Iterator[str]:
        for path, m, _ in saved:
            for name, value in m.__dict__.items():
                parts = value if isinstance(value, (tuple, list)) else (value,)
                if any(isinstance(p, fx.Proxy) for p in parts):
                    yield f"{path}.{name}".lstrip(".")

    try:
        yield stored
    finally:
        for _, _, tables in saved:
            for table, before in tables:
                if dict.__len__(table) != len(before) or any(
                    k not in table or table[k] is not v for k, v in before.items()
                ):
                    table.clear()
                    table.update(before)


# ------------------------------------------------------------------------------------- tracing


class _Tracer(fx.Tracer):
    """torch's modules are leaves; so is what packs sequences, and what makes tensors of sizes."""

    # A buffer would otherwise be its own value, and forward could write into it.
    proxy_buffer_attributes = True

    def __init__(self) -> None:
        rnn = torch.nn.utils.rnn
        packing = (rnn.pack_padded_sequence, rnn.pad_packed_sequence)
        leaves = (torch.zeros, torch.ones, torch.full, *packing)
        super().__init__(autowrap_functions=leaves)
        # They are replaced wherever a module has them, whatever it calls them.
        for m in list(sys.modules.values()):
            if isinstance(m, types.ModuleType) and any(
                v is f for v in list(vars(m).values()) for f in leaves
            ):
                self._autowrap_search.append(m)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return Proxy(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The states of an LSTM are two, and so are the results of what is recurrent."""
        node, state = obj.node, False
        if op_name(node) == "getitem" and node.args[1] == 1:
            node, state = node.args[0], True  # type: ignore[assignment]
        if node.op == "call_module":
            kind = type(self.root.get_submodule(str(node.target)))
            kinds = (torch.nn.LSTM,) if state else _PAIRS
            if issubclass(kind, kinds):
                return iter((obj[0], obj[1]))  # type: ignore[index]
        return super().iter(obj)

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return leaf_class(m) is not None


def _trace(module: torch.nn.Module) -> fx.Graph:
    for path, m in module.named_modules():
        name = f"layer '{path}'" if path else type(module).__name__
        _check_hooks(m, name)
        caller = next(k for k in type(m).__mro__ if "__call__" in vars(k))
        if not caller.__module__.startswith("torch.nn.modules"):  # ParameterList has its own
            raise ConversionError(f"{name}: class {type(m).__name__} overrides __call__")
    parameters = inspect.signature(module.forward).parameters
    if leaf_class(module) is not None:
        graph = fx.Graph()
        x = [graph.placeholder(n) for n, p in parameters.items() if p.default is p.empty]
        own = type(module).__name__.lower()
        graph.output(graph.create_node("call_module", "", tuple(x), {}, own))
        return graph
    # Arguments with a default keep it, so that "if hidden is None" can be followed.
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    before = torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = _Tracer().trace(module, concrete_args=defaults or None)
    except Exception as e:  # forward is the user's code: anything may come out of it
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        advice = ADVICE
        if "interpreted as an integer" in reason:
            advice = (
                "a loop over the time steps of an input has no end here; give the whole sequence "
                "to nn.LSTM, nn.GRU or nn.RNN instead of a cell step by step"
            )
        raise ConversionError(
            f"{type(module).__name__}: torch.fx can't follow forward: {reason}; {advice}"
        ) from e
    if not torch.equal(before, torch.get_rng_state()):
        torch.set_rng_state(before)
        raise ConversionError(f"{type(module).__name__}: forward draws random numbers")
    return graph


def _check_hooks(m: torch.nn.Module, name: str) -> None:
    """Refuse what changes a module's result from outside its class's forward."""
    if "forward" in vars(m) or "__call__" in vars(m):
        raise ConversionError(f"{name}: its forward was replaced on the instance; undo that first")
    everywhere = torch.nn.modules.module
    if everywhere._global_forward_hooks or everywhere._global_forward_pre_hooks:
        raise ConversionError("hooks on all modules are registered with torch; remove them first")
    if m._forward_hooks or m._forward_pre_hooks:
        raise ConversionError(
            f"{name} has forward hooks, which may change what it computes; remove them "
            "(torch.nn.utils.remove_weight_norm and the like, or handle.remove())"
        )
