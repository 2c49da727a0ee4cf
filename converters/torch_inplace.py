"""Names of fx nodes, and the in-place operations that fx records as if they made new tensors."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from lstmc.errors import ConversionError

from .torch_ops import FUNCTIONS, METHODS

HOMES = (torch, F, torch._C._nn, operator, builtins, torch.nn.utils.rnn)

# What shares memory with its first operand; all other known operations make new tensors.
VIEWS = {
    "getitem", "getattr", "transpose", "swapaxes", "swapdims", "permute", "squeeze", "unsqueeze",
    "select", "narrow", "reshape", "flatten", "unflatten", "split", "chunk", "unbind", "detach",
    "t", "view", "view_as", "expand", "expand_as", "contiguous", "cpu", "cuda", "float", "long",
    "int", "bool", "to", "type_as", "requires_grad_", "dropout", "dropout1d", "alpha_dropout",
    "feature_dropout", "feature_alpha_dropout", "pos", "tolist", "pad_packed_sequence",
    "pack_padded_sequence",
}  # fmt: skip
VIEW_MODULES = {
    "Identity", "Dropout", "Dropout1d", "AlphaDropout", "FeatureAlphaDropout", "Flatten",
    "Unflatten",
}  # fmt: skip
HARMLESS = {"size", "getattr", "dim", "ndimension", "zeros_like", "ones_like", "full_like"}


def op_name(node: fx.Node) -> str:
    """The name that the registries know a function or method by."""
    if node.op == "call_method":
        return str(node.target)
    name = getattr(node.target, "__name__", str(node.target))
    known = any(getattr(home, name, None) is node.target for home in HOMES)
    return name if known else f"{getattr(node.target, '__module__', '')}.{name}"


class _Writes:
    """x += y as what it is: a write into x, where fx has x + y."""

    tracer: Any

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})

    def _refuse(self, other: Any) -> Any:
        raise TypeError("this operator in place is not supported")

    __ipow__ = __ifloordiv__ = __imod__ = __iand__ = __ior__ = __ixor__ = __imatmul__ = _refuse


class Proxy(_Writes, fx.Proxy):
    """A tensor while forward runs."""

    def __getattr__(self, k: str) -> Any:
        return Attribute(self, k)


class Attribute(_Writes, fx.proxy.Attribute):
    """An attribute of one."""


def where(node: fx.Node, modules: dict[str, Any]) -> str:
    if node.op == "call_module":
        m = modules[str(node.target)]
        return f"layer '{node.target}' ({type(m).__name__})" if node.target else type(m).__name__
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    inside = f" in module '{stack[-1][0]}'" if stack and stack[-1][0] else ""
    return f"forward{inside}, {op_name(node)} (fx node '{node.name}')"


def check_in_place(graph: fx.Graph, root: torch.nn.Module) -> None:
    """Refuse in-place operations whose effect reaches anything but their own result.

    fx records ``x.relu_()`` as if it made a new tensor. So whatever shares memory with x must have
    no other reader. An operation that isn't known to make a new tensor is taken for a view.
    """
    modules = dict(root.named_modules(remove_duplicate=False))

    def writes(n: fx.Node) -> bool:
        if n.op == "call_module":
            return bool(getattr(modules[str(n.target)], "inplace", False))
        if n.op not in ("call_function", "call_method"):
            return False
        name = op_name(n)
        if name in ("iadd", "isub", "imul", "itruediv"):
            return not is_size(n.args[0])
        trailing = name.endswith("_") and not name.endswith("__") and name not in ("and_", "or_")
        written = n.kwargs.get("inplace") or "out" in n.kwargs or name == "setitem"
        return bool((trailing and name not in ("requires_grad_", "detach_")) or written)

    def makes_new(n: fx.Node) -> bool:
        if writes(n):
            return False
        if n.op == "call_module":
            return type(modules[str(n.target)]).__name__ not in VIEW_MODULES
        name = op_name(n) if n.op in ("call_function", "call_method") else ""
        return (name in FUNCTIONS or name in METHODS) and name not in VIEWS

    def gives_tuple(n: fx.Node) -> bool:
        if n.op != "call_module":
            return False
        return type(modules[str(n.target)]).__name__ in ("LSTM", "GRU", "RNN", "LSTMCell")

    for node in graph.nodes:
        if not writes(node):
            continue
        child, n = node, node.args[0] if node.args else None
        while isinstance(n, fx.Node):
            users = [u for u in n.users if u is not child]
            users = [u for u in users if u.op == "call_module" or op_name(u) not in HARMLESS]
            parent = n.args[0] if n.args else None
            if op_name(n) == "getitem" and isinstance(parent, fx.Node) and gives_tuple(parent):
                users += [u for u in parent.users if u is not n and u.args[1:] == n.args[1:]]
                parent = None
            # A parameter, buffer or constant has a node for each use.
            if users or "out" in node.kwargs or n.op == "get_attr":
                raise ConversionError(
                    f"{where(node, modules)}: works in place on a tensor that is read elsewhere; "
                    "write it without the trailing _, += or inplace=True"
                )
            if makes_new(n):
                break
            child, n = n, parent


def is_size(n: Any) -> bool:
    """The size of an axis, which is a number."""
    while isinstance(n, fx.Node) and n.op in ("call_function", "call_method"):
        name = op_name(n)
        if name == "size" or (name == "getattr" and n.args[1:] == ("shape",)):
            return True
        if name not in ("getitem", "add", "sub", "mul", "iadd", "isub", "imul"):
            return False
        n = n.args[0]
    return False
