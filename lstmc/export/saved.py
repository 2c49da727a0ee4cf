"""Weights as a chip stores them (NAME_weights_save): from the laptop's and back."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from .. import format, presets
from ..errors import FormatError
from ..model import Model
from ..presets import Preset
from .freeze import freeze
from .train_program import saved_id
from .training import Train, Training

Weights = Mapping[str, Mapping[str, np.ndarray]]


def _training(model: Model, target: Preset | str, train: Train) -> tuple[Training, int]:
    chip = presets.find(target) if isinstance(target, str) else target
    frozen = freeze(model, chip, None, train)
    assert frozen.training is not None
    return frozen.training, saved_id(frozen.training, frozen.weights)


def pack_weights(model: Model, target: Preset | str, train: Train, weights: Weights) -> np.ndarray:
    """The words, uint32 [NAME_SAVED_WORDS], that NAME_weights_load takes of an export of ``model``
    with these options; ``weights`` {layer: {field: array}} are those of now (Engine.read)."""
    training, number = _training(model, target, train)
    floats = [format.pack(np.asarray(weights[t.layer][t.field], np.float32), t.gates, t.panel)
              for t in training.tensors]  # fmt: skip
    words = np.concatenate([[number], np.concatenate(floats).view(np.uint32)]).astype("<u4")
    return np.append(words, np.uint32(zlib.crc32(words.tobytes())))


def unpack_weights(
    model: Model, target: Preset | str, train: Train, words: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """The weights {layer: {field: array}} of the words that NAME_weights_save wrote: for
    Engine.write, or to set those of a graph.

    Raises FormatError for words of another model, and for damaged ones.
    """
    training, number = _training(model, target, train)
    words = np.asarray(words, "<u4")
    if words.shape != (training.weights + 2,) or words[0] != number:
        raise FormatError("these are not the saved weights of this model, target and options")
    if zlib.crc32(words[:-1].tobytes()) != words[-1]:
        raise FormatError("the saved weights are damaged: their CRC is another one")
    floats = words[1:-1].view("<f4").astype(np.float32)
    made: dict[str, dict[str, np.ndarray]] = {}
    shapes = {
        (layer.name, name): array.shape
        for layer in model.graph.layers
        for name, _, array in layer.tensors()
        if array is not None
    }
    for t in training.tensors:
        part = floats[t.place : t.place + t.floats]
        array = format.unpack(part, t.gates, t.k, t.units, t.panel)
        made.setdefault(t.layer, {})[t.field] = array.reshape(shapes[t.layer, t.field])
    return made
