"""Names of fx nodes, and the in-place operations that fx records as if they made new tensors."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from lstmc.errors import ConversionError


def op_name(node: fx.Node) -> str:
    """The name that the registries know a function or method by."""
    if node.op == "call_method":
        return str(node.target)
    name = getattr(node.target, "__name__", str(node.target))
    homes = (torch, F, operator, builtins)
    known = any(getattr(home, name, None) is node.target for home in homes)
    return name if known else f"{getattr(node.target, '__module__', '')}.{name}"


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
    fresh = {"relu", "sigmoid", "tanh", "hardsigmoid", "exp", "softmax", "linear", "zeros", "clone"}
    harmless = {"size", "getattr", "dim"}

    def writes(n: fx.Node) -> bool:
        if n.op == "call_module":
            return bool(getattr(modules[str(n.target)], "inplace", False))
        if n.op not in ("call_function", "call_method"):
            return False
        name = op_name(n)
        trailing = name.endswith("_") and not name.endswith("__")
        written = n.kwargs.get("inplace") or "out" in n.kwargs or name == "setitem"
        return bool((trailing and name not in ("requires_grad_", "detach_")) or written)

    def makes_new(n: fx.Node) -> bool:
        if n.op == "call_module":
            kind = type(modules[str(n.target)]).__name__
            return kind not in ("Identity", "Dropout", "Flatten") and not writes(n)
        return n.op in ("call_function", "call_method") and op_name(n) in fresh and not writes(n)

    for node in graph.nodes:
        if not writes(node):
            continue
        child, n = node, node.args[0] if node.args else None
        while isinstance(n, fx.Node):
            users = [u for u in n.users if u is not child]
            users = [u for u in users if u.op == "call_module" or op_name(u) not in harmless]
            parent = n.args[0] if n.args else None
            if op_name(n) == "getitem" and isinstance(parent, fx.Node) and makes_new(parent):
                users += [u for u in parent.users if u is not n and u.args[1:] == n.args[1:]]
                parent = None
            # A parameter, buffer or constant has a node for each use.
            if users or "out" in node.kwargs or n.op == "get_attr":
                raise ConversionError(
                    f"{where(node, modules)}: works in place on a tensor that is read elsewhere; "
                    "write it without the trailing _ or inplace=True"
                )
            if makes_new(n):
                break
            child, n = n, parent
