"""The end of a conversion that grew a graph by torch's handlers: names of inputs and outputs."""

from __future__ import annotations

from lstmc import graph as g

from .torch_values import input_value


def name_outputs(
    inputs: list[g.Value],
    results: dict[str, tuple[str, tuple[g.Axis, ...]]],
    layers: list[g.Layer],
) -> g.Graph:
    """The graph whose outputs have the names they should, other values moving out of their way."""
    names = {input_value(v.name): v.name for v in inputs}
    taken = {*names.values(), *results}
    copies: list[tuple[str, str]] = []
    targets: list[g.Value] = []
    for wanted, (value, axes) in results.items():
        name, n = wanted, 1
        while name in names.values():
            name, n = f"{wanted}_{n}", n + 1
        if value in names:  # an input, or a value that is an output already
            copies.append((value, name))
            names[f"copy {name}"] = name
        else:
            names[value] = name
        taken.add(name)
        targets.append(g.Value(name, axes))
    for layer in layers:
        for own in layer.outputs:
            if own is not None and own not in names:
                name, n = own, 1
                while name in taken:
                    name, n = f"{own}_{n}", n + 1
                taken.add(name)
                names[own] = name
    for layer in layers:
        layer.rename(names)
    layer_names = {layer.name for layer in layers}
    for value, name in copies:
        own, n = name, 1
        while own in layer_names:
            own, n = f"{name}_{n}", n + 1
        layer_names.add(own)
        layers.append(
            g.Activation(name=own, inputs=(names[value],), outputs=(name,), activation=g.LINEAR)
        )
    return g.Graph(inputs, targets, layers)
