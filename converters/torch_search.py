"""What the inputs of a traced forward are, and the graph that follows from it.

torch.fx doesn't know shapes. Which axis is time follows from the module (an LSTM's batch_first), so
each of a few layouts is tried for every input, and the first under which the whole of forward makes
sense is the one; where none does, the error of the attempt that got furthest is raised.

Source: torch/fx/node.py (node kinds).
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from lstmc import graph as g
from lstmc.errors import ConversionError
from lstmc.graph import BATCH, TIME, Axis

from .torch_arithmetic import Extremum
from .torch_finish import Example, finish
from .torch_inplace import op_name, where
from .torch_modules import MODULES
from .torch_ops import FUNCTIONS, METHODS
from .torch_values import (
    Const,
    Context,
    Free,
    LayoutError,
    Missing,
    Opaque,
    Packed,
    Size,
    Sym,
    UnknownSizeError,
    input_value,
    is_tensor,
)

# Layouts tried for an input, in this order; "F" is its number of features, "N" of layers or such.
LAYOUTS: tuple[tuple[Axis, ...], ...] = (
    (BATCH, "F"),
    (BATCH, TIME, "F"),
    (TIME, BATCH, "F"),
    (BATCH, "F", TIME),
    (BATCH, TIME),
    (TIME, BATCH),
    ("N", BATCH, "F"),
    (BATCH,),
)
# Indices of an embedding more likely have no axis of features.
INDICES = tuple(sorted(LAYOUTS, key=lambda axes: any(a in ("F", "N") for a in axes)))
_MAX_INPUTS = 5  # layouts of several inputs multiply
# What a recurrent module by itself gives, if that is two things.
_BARE: dict[type | None, tuple[str, str]] = {
    torch.nn.GRU: ("output", "h_n"),
    torch.nn.RNN: ("output", "h_n"),
    torch.nn.LSTMCell: ("h_1", "c_1"),
}
ADVICE = "simplify forward, or export the model to ONNX and convert that"
_OWN = ("torch.nn.", "torch.ao.", "torch.quantization")


def leaf_class(m: torch.nn.Module) -> type | None:
    """The class of torch.nn whose forward ``m`` runs; None if that's the user's own."""
    for cls in type(m).__mro__:
        if "forward" in vars(cls):
            own = cls.__module__.startswith(_OWN)
            return cls if own and cls is not torch.nn.Sequential else None
    return None


def interpret(
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
        raise ConversionError(f"{len(inputs)} inputs, supported are 1 to {_MAX_INPUTS}; {ADVICE}")
    for n in inputs:
        if str(n.target).startswith("*"):
            raise ConversionError(f"forward takes {n.target}; give it named arguments")
    shapes = _example_shapes([str(n.target) for n in inputs], example)
    return _search(nodes, inputs, shapes, root)


def _search(
    nodes: list[fx.Node], inputs: list[fx.Node], shapes: list[tuple[int, ...] | None], root: Any
) -> tuple[list[g.Value], dict[str, Any], list[g.Layer]]:
    """The first layouts of the inputs under which everything makes sense.

    At first without taking axes of a fixed size for time, as a decoder that is fed one step has
    them. Layouts that failed at a node are not tried again for what that node doesn't depend on.
    """
    best, error = -1, ConversionError("the example fits no layout of axes that lstmc knows")
    reads = _reads(nodes, inputs)
    modules = dict(root.named_modules(remove_duplicate=False))
    choices = [INDICES if _is_index(n, modules) else LAYOUTS for n in inputs]
    for lenient in (False, True):
        failed: list[dict[int, tuple[Axis, ...]]] = []
        for layouts in itertools.product(*choices):
            sizes = zip(shapes, layouts, strict=True)
            if any(s is not None and len(s) != len(a) for s, a in sizes):
                continue
            if any(all(layouts[i] == a for i, a in f.items()) for f in failed):
                continue
            done = 0
            try:
                for result in _attempt(nodes, inputs, layouts, shapes, root, lenient):
                    if result is not None:
                        return result
                    done += 1
            except UnknownSizeError:
                raise
            except ConversionError as e:
                if done <= len(nodes):
                    failed.append({i: layouts[i] for i in reads[nodes[done - 1]]})
                rank = 2 * done + (not isinstance(e, LayoutError))
                if rank > best:
                    best, error = rank, e
    raise error


def _is_index(node: fx.Node, modules: dict[str, Any]) -> bool:
    """An input that an embedding reads."""
    for user in node.users:
        if user.op == "call_module":
            found = type(modules[str(user.target)]).__name__ == "Embedding"
        else:
            name = op_name(user)
            passes = name in ("long", "int", "to", "clone", "contiguous")
            found = name == "embedding" or (passes and _is_index(user, modules))
        if found and user.args and user.args[0] is node:
            return True
    return False


def _reads(nodes: list[fx.Node], inputs: list[fx.Node]) -> dict[fx.Node, set[int]]:
    """Which inputs decide whether a node makes sense: those that it, or one before it, reads."""
    # What a node says about a size of an input may come to light at any later node that reads
    # that input; so inputs that ever met in a node count together.
    reads: dict[fx.Node, set[int]] = {}
    met: list[set[int]] = [{i} for i in range(len(inputs))]
    for n in nodes:
        own = {inputs.index(n)} if n in inputs else set[int]()
        own = own.union(*(reads[m] for m in n.all_input_nodes if m in reads))
        reads[n] = own
        together = set[int]().union(*(met[i] for i in own)) if own else own
        for i in together:
            met[i] = together
        reads[n] = together
    return reads


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
    lenient: bool,
) -> Iterator[Any]:
    """Give each node its meaning; yields once before a node, the result at last."""
    modules = dict(root.named_modules(remove_duplicate=False))
    ctx = Context(lenient=lenient, first=input_value(str(inputs[0].target)))
    env: dict[fx.Node, Any] = {}
    steps: dict[str, int] = {}
    for n, layout, shape in zip(inputs, layouts, shapes, strict=True):
        name = str(n.target)
        axes = tuple(Free(name, i) if a in ("F", "N") else a for i, a in enumerate(layout))
        env[n] = Sym(input_value(name), axes, kind=f"?{name}")
        for a, size in zip(axes, shape or (), strict=False):
            if isinstance(a, Free):
                ctx.sizes[a] = size
            elif a == TIME:
                steps[input_value(name)] = size
    for node in nodes:
        yield None
        if node.op == "placeholder":
            continue
        args = fx.node.map_arg(node.args, lambda n: env[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: env[n])
        args, kwargs = _plain(tuple(args)), _plain(dict(kwargs))
        if node.op == "output":
            yield _result(ctx, inputs, env, outputs(args[0], root), steps)
            return
        ctx.where = where(node, modules)
        if node.op == "get_attr":
            env[node] = operator.attrgetter(str(node.target))(root)
        elif node.op == "call_module":
            env[node] = _call_module(ctx, modules[str(node.target)], str(node.target), args, kwargs)
        else:
            ctx.path = node.name
            env[node] = _call_function(ctx, node, args, kwargs)


def _result(
    ctx: Context, inputs: list[fx.Node], env: dict[fx.Node, Any], returned: dict[str, Any],
    steps: dict[str, int],
) -> tuple[list[g.Value], dict[str, Any], list[g.Layer]]:  # fmt: skip
    results = {k: _output(ctx, k, v) for k, v in returned.items()}
    if all(isinstance(r, ConversionError) for r in results.values()):
        raise next(iter(results.values()))
    values = []
    for n in inputs:
        name = str(n.target)
        axes = _axes(ctx, env[n], f"input '{name}'")
        dtype = {"int": "int64", "bool": "bool"}.get(ctx.kinds.get(name, ""), "float32")
        values.append(g.Value(input_value(name), axes, dtype))
    values = finish(ctx, values, Example(steps))
    plain = [
        dataclasses.replace(v, name=str(n.target)) for v, n in zip(values, inputs, strict=True)
    ]
    return plain, results, ctx.layers


def _call_function(ctx: Context, node: fx.Node, args: Any, kwargs: Any) -> Any:
    name = op_name(node)
    everything = [*_leaves(args), *_leaves(kwargs)]
    if any(is_tensor(a) for a in everything) and not any(
        isinstance(a, (Sym, Const, Size, Packed, Opaque, Missing)) for a in everything
    ):
        return fold(ctx, node, name, args, kwargs)
    table = METHODS if node.op == "call_method" else FUNCTIONS
    if name not in table:
        ctx.refuse(f"'{name}' is not supported; {ADVICE}")
    return _call(ctx, table[name], args, kwargs)


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, slice):
        yield from (x.start, x.stop, x.step)
    elif isinstance(x, (tuple, dict)):
        for v in x.values() if isinstance(x, dict) else x:
            yield from _leaves(v)
    else:
        yield x


def fold(ctx: Context, node: fx.Node, name: str, args: Any, kwargs: Any) -> Any:
    """What an operation on parameters alone gives: torch itself says."""
    if "." in name:  # no function of torch
        ctx.refuse(f"'{name}' is not supported; {ADVICE}")
    before = torch.get_rng_state()
    try:
        with torch.no_grad():
            if node.op == "call_method":
                result = getattr(args[0], name)(*args[1:], **kwargs)
            else:
                result = node.target(*args, **kwargs)  # type: ignore[operator]
    except Exception as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        ctx.refuse(f"'{name}' of parameters fails: {reason}")
    if not torch.equal(before, torch.get_rng_state()):
        torch.set_rng_state(before)
        ctx.refuse(f"'{name}' draws random numbers")
    return _plain(result)


def _plain(a: Any) -> Any:
    """fx's immutable lists and dicts as Python's own."""
    if isinstance(a, (tuple, list)):
        return tuple(_plain(x) for x in a)
    if isinstance(a, slice):
        return slice(_plain(a.start), _plain(a.stop), _plain(a.step))
    return {k: _plain(v) for k, v in a.items()} if isinstance(a, dict) else a


def _call_module(ctx: Context, m: Any, path: str, args: Any, kwargs: Any) -> Any:
    # What it is, which may have its forward from a class above (BatchNorm1d from _BatchNorm).
    cls = next(k for k in type(m).__mro__ if k.__module__.startswith("torch.nn.modules"))
    forward = leaf_class(m)
    if forward is not None and not forward.__module__.startswith("torch.nn.modules"):
        cls = forward
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


def outputs(result: Any, root: Any = None) -> dict[str, Any]:
    """What forward returns, by name."""
    if isinstance(result, dict):
        return {str(k) + n: v for k, x in result.items() for n, v in _parts(x).items()}
    if isinstance(result, tuple) and len(result) != 1:
        pair = result[1] if len(result) == 2 else None
        if isinstance(pair, tuple) and len(pair) == 2:  # an LSTM's own result
            return {"output": result[0], "h_n": pair[0], "c_n": pair[1]}
        named = _BARE.get(leaf_class(root)) if root is not None else None
        if named:
            return dict(zip(named, result, strict=True))
        return {f"output{n}": v for n, v in _parts(result).items()}
    return {"output": result[0] if isinstance(result, tuple) else result}


def _parts(x: Any) -> dict[str, Any]:
    """The parts of a tuple of tuples, as suffixes of a name: _0, _1_0, _1_1 ..."""
    if isinstance(x, Extremum):
        x = (x.values, Missing("the indices of a maximum or minimum"))
    if not isinstance(x, tuple):
        return {"": x}
    return {f"_{i}{n}": v for i, part in enumerate(x) for n, v in _parts(part).items()}


def _output(ctx: Context, name: str, x: Any) -> Any:
    """An output as (value, axes), or the ConversionError to raise if it is wanted."""
    try:
        ctx.where = ctx.path = f"output '{name}'"
        sym = ctx.sym(x)
        return sym.value, _axes(ctx, sym, ctx.where)
    except (UnknownSizeError, LayoutError):
        raise
    except ConversionError as e:
        return e


def _axes(ctx: Context, x: Any, name: str) -> tuple[Axis, ...]:
    axes: tuple[Any, ...] = ctx.any(x).axes
    for a in axes:
        if isinstance(a, Free):
            raise UnknownSizeError(
                f"{name}: can't tell its number of features; pass example=, an array it takes"
            )
        if not isinstance(a, (str, int)):
            ctx.refuse(f"an axis of it is {a}, which can't be laid out")
    return axes
