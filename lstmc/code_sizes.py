"""Bytes of code of firmware, measured: what `lstmc info` estimates from."""

from __future__ import annotations

from . import graph as g

#: Recurrent layers with options are others in the table: they leave the short way.
OPTIONS = " with options"

#: Major version of the GCC that made the table.
GCC = "12"

# By preset, by type of layer: bytes of a firmware with this layer alone, and bytes that it adds to
# one with an LSTM, with which it shares code (LSTM: to one with a GRU). Compiled with -Os from what
# `lstmc export` writes, without a self-test; with the compiler's own library, which has the
# arithmetic of chips without an FPU. A preset that the tests have no compiler for is not here.
# `.venv/bin/python -P tests/measure_code.py --write` measures again.
# fmt: off
TABLE: dict[str, dict[str, tuple[int, int]]] = {
    "cortex-m0": {
        "LSTM": (12240, 1616), "GRU": (15240, 4752), "RNN": (15380, 3452),
        "LSTM with options": (16332, 2336), "GRU with options": (16072, 4008),
        "RNN with options": (15380, 3452), "Dense": (8192, 1184), "Activation": (648, 104),
        "Softmax": (10192, 312), "LastStep": (672, 44), "Embedding": (1984, 432),
        "Affine": (7048, 48), "Reduce": (1592, 60), "LayerNorm": (10428, 624),
        "Combine": (1616, 148), "Concat": (708, 68), "Select": (656, -4), "Conv1D": (9852, 3356),
    },
    "cortex-m3": {
        "LSTM": (6236, 1672), "GRU": (8924, 4440), "RNN": (9120, 3176),
        "LSTM with options": (10024, 2240), "GRU with options": (9784, 3688),
        "RNN with options": (9120, 3176), "Dense": (3372, 872), "Activation": (388, 88),
        "Softmax": (4140, 304), "LastStep": (412, 52), "Embedding": (1204, 232),
        "Affine": (2552, 60), "Reduce": (1024, 64), "LayerNorm": (4128, 372),
        "Combine": (1056, 124), "Concat": (436, 28), "Select": (384, -20), "Conv1D": (5152, 3096),
    },
    "cortex-m4f": {
        "LSTM": (1370, 852), "GRU": (5090, 4652), "RNN": (3774, 3832),
        "LSTM with options": (4858, 2324), "GRU with options": (4570, 4376),
        "RNN with options": (3774, 3832), "Dense": (1394, 1480), "Activation": (206, 136),
        "Softmax": (550, 420), "LastStep": (230, 124), "Embedding": (440, 338),
        "Affine": (202, 128), "Reduce": (182, 76), "LayerNorm": (366, 288), "Combine": (378, 352),
        "Concat": (266, 180), "Select": (222, 128), "Conv1D": (3204, 3778),
    },
    "cortex-m7": {
        "LSTM": (1370, 864), "GRU": (5074, 4660), "RNN": (3770, 3828),
        "LSTM with options": (4846, 2304), "GRU with options": (4554, 4360),
        "RNN with options": (3770, 3828), "Dense": (1398, 1488), "Activation": (206, 132),
        "Softmax": (546, 412), "LastStep": (230, 124), "Embedding": (440, 334),
        "Affine": (202, 128), "Reduce": (182, 76), "LayerNorm": (366, 284), "Combine": (378, 352),
        "Concat": (266, 176), "Select": (222, 128), "Conv1D": (3212, 3778),
    },
    "cortex-m33": {
        "LSTM": (1370, 852), "GRU": (5074, 4636), "RNN": (3770, 3828),
        "LSTM with options": (4842, 2308), "GRU with options": (4554, 4360),
        "RNN with options": (3770, 3828), "Dense": (1390, 1480), "Activation": (206, 132),
        "Softmax": (550, 412), "LastStep": (230, 124), "Embedding": (440, 338),
        "Affine": (202, 128), "Reduce": (182, 72), "LayerNorm": (366, 280), "Combine": (378, 348),
        "Concat": (266, 176), "Select": (222, 128), "Conv1D": (3252, 3822),
    },
    "cortex-m55": {
        "LSTM": (1736, 888), "GRU": (5420, 4648), "RNN": (5504, 4120),
        "LSTM with options": (6480, 2288), "GRU with options": (6220, 4640),
        "RNN with options": (5504, 4120), "Dense": (1760, 1808), "Activation": (332, 492),
        "Softmax": (1016, 944), "LastStep": (260, 88), "Embedding": (408, 252),
        "Affine": (328, 284), "Reduce": (316, 232), "LayerNorm": (700, 608),
        "Combine": (1476, 1364), "Concat": (200, 84), "Select": (200, 76), "Conv1D": (3748, 4168),
    },
    "rv32imac": {
        "LSTM": (13288, 3336), "GRU": (16440, 6536), "RNN": (16216, 4616),
        "LSTM with options": (17936, 4072), "GRU with options": (17392, 5768),
        "RNN with options": (16216, 4616), "Dense": (7232, 1248), "Activation": (352, 144),
        "Softmax": (9720, 464), "LastStep": (392, 80), "Embedding": (1376, 560),
        "Affine": (6152, 112), "Reduce": (1864, 80), "LayerNorm": (9664, 656),
        "Combine": (1648, 208), "Concat": (440, 112), "Select": (328, 0), "Conv1D": (9552, 4232),
    },
    "rv32imafc": {
        "LSTM": (3904, 3128), "GRU": (6624, 5872), "RNN": (6528, 4320),
        "LSTM with options": (8184, 3944), "GRU with options": (7640, 5400),
        "RNN with options": (6528, 4320), "Dense": (1184, 1104), "Activation": (232, 112),
        "Softmax": (608, 376), "LastStep": (264, 88), "Embedding": (536, 296),
        "Affine": (256, 120), "Reduce": (176, 80), "LayerNorm": (400, 288), "Combine": (416, 224),
        "Concat": (320, 104), "Select": (208, -16), "Conv1D": (3672, 4312),
    },
    "host": {
        "LSTM": (4696, 2922), "GRU": (9238, 7621), "RNN": (9740, 5474),
        "LSTM with options": (11216, 3688), "GRU with options": (10708, 6268),
        "RNN with options": (9740, 5474), "Dense": (2116, 1622), "Activation": (317, 68),
        "Softmax": (1025, 478), "LastStep": (343, 76), "Embedding": (568, 229),
        "Affine": (553, 87), "Reduce": (243, 97), "LayerNorm": (764, 280), "Combine": (522, 176),
        "Concat": (416, 74), "Select": (334, -23), "Conv1D": (4064, 4246),
    },
}
# fmt: on


def kind_of(layer: g.Layer) -> str:
    """What the table calls a layer."""
    name = type(layer).__name__
    if not isinstance(layer, g.Recurrent):
        return name
    extras = [array is not None for _, meta, array in layer.tensors() if meta["extra"]]
    for f in layer.param_fields():
        extras.append("option" in f.metadata and getattr(layer, f.name) != f.default)
    return name + OPTIONS if any(extras) else name


def estimate(preset: str, kinds: set[str]) -> int | None:
    """Bytes of code of a firmware with layers of these types, or None if one was not measured.

    ``kinds``: those of :func:`kind_of`. The LSTM or the largest, and what the others
    add to an LSTM: too much where they share code with one another (a third, seen).
    """
    sizes = TABLE.get(preset, {})
    if not kinds or not kinds <= set(sizes):
        return None
    first = "LSTM" if "LSTM" in kinds else max(kinds, key=lambda kind: sizes[kind])
    return sizes[first][0] + sum(sizes[kind][1] for kind in kinds - {first})
