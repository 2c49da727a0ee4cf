"""A live torch.nn.Module to a graph: torch.fx records forward, :mod:`torch_modules` and
:mod:`torch_ops` give it meaning.

torch.fx doesn't know shapes. Which axis is time follows from the module (an LSTM's batch_first), so
each of a few layouts is tried for every input, and the first under which the whole of forward makes
sense is the one; where none does, the error of the attempt that got furthest is raised.

Sources: torch/fx/_symbolic_trace.py (Tracer), torch/fx/node.py (node kinds).
"""

from __future__ import annotations

import inspect
import itertools
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME, Axis

from .torch_inplace import check_in_place, op_name, where
from .torch_modules import MODULES
from .torch_ops import FUNCTIONS, METHODS
from .torch_values import Context, Free, LayoutError, Stack, Sym, UnknownSizeError, input_value

# Layouts tried for an input, in this order; "F" is its number of features.
LAYOUTS: tuple[tuple[Axis, ...], ...] = (
    (BATCH, "F"),
    (BATCH, TIME, "F"),
    (TIME, BATCH, "F"),
    (BATCH, TIME),
    (TIME, BATCH),
    (BATCH,),
)
_MAX_INPUTS = 3  # layouts of several inputs multiply
_ADVICE = "simplify forward, or export the model to ONNX and convert that"
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
        return _interpret(graph, module, example)


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


def leaf_class(m: torch.nn.Module) -> type | None:
    """The class of torch.nn whose forward ``m`` runs; None if that's the user's own."""
    for cls in type(m).__mro__:
        if "forward" in vars(cls):
            own = cls.__module__.startswith(("torch.nn.", "torch.ao.", "torch.quantization"))
            return cls if own and cls is not torch.nn.Sequential else None
    return None


class _Tracer(fx.Tracer):
    """torch's modules are leaves; torch.zeros of traced sizes is recorded, not run."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=(torch.zeros,))
        getattr(self, "_autowrap_search", []).append(torch)

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return leaf_class(m) is not None


def _trace(module: torch.nn.Module) -> fx.Graph:
    for path, m in module.named_modules():
        name = f"layer '{path}'" if path else type(module).__name__
        _check_hooks(m, name)
        if type(m).__call__ is not torch.nn.Module.__call__:
            raise ConversionError(f"{name}: class {type(m).__name__} overrides __call__")
    parameters = inspect.signature(module.forward).parameters
    if leaf_class(module) is not None:
        graph = fx.Graph()
        x = [graph.placeholder(n) for n, p in parameters.items() if p.default is p.empty]
        graph.output(graph.create_node("call_module", "", tuple(x), {}, "lstm"))
        return graph
    # Arguments with a default keep it, so that "if hidden is None" can be followed.
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Tracer().trace(module, concrete_args=defaults or None)
    except Exception as e:  # forward is the user's code: anything may come out of it
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ConversionError(
            f"{type(module).__name__}: torch.fx can't follow forward: {reason}; {_ADVICE}"
        ) from e


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


# -------------------------------------------------------------------------------- interpreting


def _interpret(
    graph: fx.Graph, root: torch.nn.Module, example: Any
) -> tuple[list[g.Value], dict[str, Any], list[g.Layer]]:
    needed = set[fx.Node]()
    queue = [n for n in graph.nodes if n.op == "output"]
    while queue:
        n = queue.pop()
        if n not in needed:
            needed.add(n)
            queue.extend(n.all_input_nodes)
    nodes = [n for n in graph.nodes if n in needed]
    inputs = [n for n in nodes if n.op == "placeholder"]
    for n in graph.nodes:
        if n.op == "placeholder" and n not in needed and not n.args:  # has no default
            raise ConversionError(f"forward's argument '{n.target}' has no effect on the output")
    if not inputs or len(inputs) > _MAX_INPUTS:
        raise ConversionError(f"{len(inputs)} inputs, supported are 1 to {_MAX_INPUTS}; {_ADVICE}")
    for n in inputs:
        if str(n.target).startswith("*"):
            raise ConversionError(f"forward takes {n.target}; give it named arguments")
    shapes = _example_shapes([str(n.target) for n in inputs], example)
    best, error = -1, ConversionError("the example fits no layout of axes that lstmc knows")
    for layouts in itertools.product(LAYOUTS, repeat=len(inputs)):
        if any(s is not None and len(s) != len(a) for s, a in zip(shapes, layouts, strict=True)):
            continue
        done = 0
        try:
            for result in _attempt(nodes, inputs, layouts, shapes, root):
                if result is not None:
                    return result
                done += 1
        except UnknownSizeError:
            raise
        except ConversionError as e:
            rank = 2 * done + (not isinstance(e, LayoutError))
            if rank > best:
                best, error = rank, e
    raise error


def _example_shapes(names: list[str], example: Any) -> list[tuple[int, ...] | None]:
    if example is None:
        return [None] * len(names)
    if isinstance(example, dict):
        given = [example.get(n) for n in names]
    else:
        given = list(example) if isinstance(example, (tuple, list)) else [example]
    shapes = [getattr(e, "shape", None) for e in given]
    if len(given) != len(names) or any(s is None for s in shapes):
        raise ConversionError(f"example must hold an array for each of {', '.join(names)}")
    return [None if s is None else tuple(int(n) for n in s) for s in shapes]


def _attempt(
    nodes: list[fx.Node],
    inputs: list[fx.Node],
    layouts: tuple[tuple[Axis, ...], ...],
    shapes: list[tuple[int, ...] | None],
    root: torch.nn.Module,
) -> Iterator[Any]:
    """Give each node its meaning; yields once a node, the result at last."""
    modules = dict(root.named_modules(remove_duplicate=False))
    ctx = Context()
    env: dict[fx.Node, Any] = {}
    for n, layout, shape in zip(inputs, layouts, shapes, strict=True):
        free = Free(str(n.target))
        env[n] = Sym(input_value(str(n.target)), tuple(free if a == "F" else a for a in layout))
        if shape is not None and free in env[n].axes:
            ctx.sizes[free] = shape[-1]
    for node in nodes:
        yield None
        if node.op == "placeholder":
            continue
        args = fx.node.map_arg(node.args, lambda n: env[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: env[n])
        args = tuple(_plain(a) for a in args)
        if node.op == "output":
            values = [
                g.Value(str(n.target), _axes(ctx, env[n], f"input '{n.target}'")) for n in inputs
            ]
            results = {k: _output(ctx, k, v) for k, v in outputs(args[0]).items()}
            yield values, results, ctx.layers
            return
        ctx.where = where(node, modules)
        if node.op == "get_attr":
            env[node] = operator.attrgetter(str(node.target))(root)
        elif node.op == "call_module":
            env[node] = _call_module(ctx, modules[str(node.target)], str(node.target), args, kwargs)
        else:
            name = op_name(node)
            table = METHODS if node.op == "call_method" else FUNCTIONS
            ctx.path = node.name
            if name not in table:
                ctx.refuse(f"'{name}' is not supported; {_ADVICE}")
            env[node] = _call(ctx, table[name], args, kwargs)


def _plain(a: Any) -> Any:
    """fx's immutable lists and dicts as Python's own."""
    if isinstance(a, (tuple, list)):
        return tuple(_plain(x) for x in a)
    return {k: _plain(v) for k, v in a.items()} if isinstance(a, dict) else a


def _call_module(ctx: Context, m: Any, path: str, args: Any, kwargs: Any) -> Any:
    cls = leaf_class(m)
    assert cls is not None  # others are traced into
    if not cls.__module__.startswith("torch.nn.modules"):
        ctx.refuse(f"{cls.__module__}.{cls.__name__} is not supported")
    if cls.__name__ not in MODULES:
        ctx.refuse(f"{cls.__name__} is not supported yet; known: {', '.join(MODULES)}")
    for derived in type(m).__mro__[: type(m).__mro__.index(cls)]:
        for name in vars(derived):
            if hasattr(cls, name) and not (name.startswith("__") and name != "__call__"):
                ctx.refuse(f"class {derived.__name__} overrides {name} of {cls.__name__}")
    ctx.path = path or cls.__name__.lower()
    return _call(ctx, MODULES[cls.__name__], (m, *args), kwargs)


def _call(ctx: Context, handler: Any, args: Any, kwargs: Any) -> Any:
    try:
        inspect.signature(handler).bind(ctx, *args, **kwargs)
    except TypeError as e:
        ctx.refuse(f"unsupported arguments: {e}")
    return handler(ctx, *args, **kwargs)


# ------------------------------------------------------------------------------------- outputs


def outputs(result: Any) -> dict[str, Any]:
    """What forward returns, by name."""
    if isinstance(result, dict):
        return {str(k): v for k, v in result.items()}
    if isinstance(result, tuple) and len(result) != 1:
        pair = result[1] if len(result) == 2 else None
        if isinstance(pair, tuple) and len(pair) == 2:  # an LSTM's own result
            return {"output": result[0], "h_n": pair[0], "c_n": pair[1]}
        return {f"output_{i}": v for i, v in enumerate(result)}
    return {"output": result[0] if isinstance(result, tuple) else result}


def _output(ctx: Context, name: str, x: Any) -> Any:
    """An output as (value, axes), or the ConversionError to raise if it is wanted."""
    try:
        ctx.where = f"output '{name}'"
        if isinstance(x, Stack):
            ctx.refuse(
                f"it is the state of all {len(x.items)} layers of a stacked LSTM, [num_layers, "
                "batch, H], which can't be laid out; return one layer's, as in h_n[-1], or name "
                "the outputs you want, as in outputs=['output']"
            )
        sym = ctx.sym(x)
        return sym.value, _axes(ctx, sym, ctx.where)
    except UnknownSizeError:
        raise
    except ConversionError as e:
        return e


def _axes(ctx: Context, x: Sym, name: str) -> tuple[Axis, ...]:
    for a in ctx.sym(x).axes:
        if isinstance(a, Free):
            raise UnknownSizeError(
                f"{name}: can't tell its number of features; pass example=, an array it takes"
            )
    axes: tuple[Any, ...] = ctx.sym(x).axes
    return axes
