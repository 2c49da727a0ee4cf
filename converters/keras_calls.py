"""The calls in a functional model's config: which tensors, and what else, each layer gets.

Keras 3 keeps the arguments of a call as they were, tensors marked as such. Keras 2 keeps a list of
[layer, call, tensor, keyword arguments], one for each tensor of the first argument.
"""

from __future__ import annotations

from typing import Any, NoReturn

from lstmc.errors import FormatError

from .keras_tree import Call, Item, Ref


def corrupt(where: str, what: str) -> NoReturn:
    raise FormatError(f"the model's config is corrupt: {where}: {what}")


def ref(value: Any, where: str) -> Ref:
    """[layer, call, tensor], as Keras writes it everywhere."""
    if isinstance(value, list) and len(value) == 3:
        name, call, tensor = value
        if isinstance(name, str) and type(call) is int and type(tensor) is int:
            return Ref(name, call, tensor)
    corrupt(where, f"{str(value)[:60]!r} is not a tensor")


def named_refs(value: Any, where: str) -> list[tuple[str, Ref]]:
    """The inputs or outputs of a model: one, a list, or a dict whose keys are then their names.

    Keras flattens a dict in the order of its keys, and calls the others after their layers.
    """
    if isinstance(value, dict):
        return [(k, ref(value[k], where)) for k in sorted(value)]
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list):
        corrupt(where, f"its inputs or outputs are {str(value)[:60]!r}")
    refs: list[tuple[str, Ref]] = []
    for v in value:
        if isinstance(v, list) and v and isinstance(v[0], list):
            refs += named_refs(v, where)  # the states of stacked cells come in lists of lists
        else:
            r = ref(v, where)
            refs.append((r.layer, r))
    return refs


def call_of(item: Item, node: Any) -> Call:
    """One entry of a layer's inbound_nodes."""
    where = f"layer '{item.label}'"
    if isinstance(node, dict):
        args, kwargs = node.get("args"), node.get("kwargs") or {}
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            corrupt(where, f"a call is {str(node)[:60]!r}")
        call = Call([_argument(item, a) for a in args], {})
        call.kwargs = {str(k): _argument(item, v) for k, v in kwargs.items()}
        return call
    if isinstance(node, list):
        refs, kwargs = [], {}
        for n in [node] if node and isinstance(node[0], str) else node:
            if isinstance(n, list) and len(n) == 4:
                if isinstance(n[3], dict):
                    kwargs.update({str(k): _argument2(v) for k, v in n[3].items()})
                n = n[:3]
            refs.append(ref(n, where))
        return Call([refs[0] if len(refs) == 1 else refs], kwargs)
    corrupt(where, f"a call is {str(node)[:60]!r}")


def _argument(item: Item, value: Any) -> Any:
    """An argument in Keras 3's way."""
    where = f"layer '{item.label}'"
    if isinstance(value, list):
        return [_argument(item, v) for v in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    if value.get("class_name") == "__keras_tensor__":
        if not isinstance(config, dict):
            corrupt(where, f"a tensor is {str(value)[:60]!r}")
        return ref(config.get("keras_history"), where)
    if value.get("class_name") == "__slice__" and isinstance(config, dict):
        parts = [config.get(k) for k in ("start", "stop", "step")]
        if all(p is None or type(p) is int for p in parts):
            return slice(*parts)
    if value.get("class_name") != "__ellipsis__":
        item.refuse(f"it is called with {str(value)[:60]}", "call it with tensors only")
    return ...


def _argument2(value: Any) -> Any:
    """A keyword argument in Keras 2's way: a tensor is a list [layer, call, tensor]."""
    if not isinstance(value, list):
        return value
    if len(value) == 3 and isinstance(value[0], str) and all(type(n) is int for n in value[1:]):
        return Ref(*value)
    return [_argument2(v) for v in value]


def off(value: Any) -> bool:
    """Whether a keyword argument says nothing: Keras keeps mask=[None, None] for two inputs."""
    if isinstance(value, list):
        return all(v is None for v in value)
    return value is None or value is False


def bound(item: Item, params: tuple[str, ...], call: Call) -> dict[str, Any]:
    """The arguments of a call by name; those that say nothing are left out."""
    given: dict[str, Any] = {}
    if len(call.args) > len(params):
        item.refuse(f"it is called with {len(call.args)} arguments", f"give {len(params)}")
    for name, value in zip(params, call.args, strict=False):
        if name == "training" and not off(value):
            item.refuse(f"it is called with training={str(value)[:60]}", "call it without training")
        given[name] = value
    for key, value in call.kwargs.items():
        # The first argument goes by several names in Keras's history.
        name = params[0] if key in ("inputs", "sequences", "x") else key
        if off(value):
            continue
        if name == "training" or name not in params or given.get(name) is not None:
            item.refuse(f"it is called with {key}={str(value)[:60]}", f"call it without {key}")
        given[name] = value
    if params and params[0] not in given:
        item.refuse("it is called without a tensor", "call it with one")
    return {k: v for k, v in given.items() if k == params[0] or not off(v)}
