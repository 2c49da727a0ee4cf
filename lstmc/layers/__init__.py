"""Keras's layers, for the models of :mod:`lstmc.models`: names, options and defaults of Keras 3.

    from lstmc.models import Sequential
    from lstmc.layers import LSTM, Dense

An option that lstmc does not support is refused, naming layer and option; none is ignored. What
there is, and what is refused: docs/howto/keras-vocabulary.md.
"""

from __future__ import annotations

from .base import Layer
from .core import (
    ELU,
    Activation,
    BatchNormalization,
    Dense,
    Dropout,
    Embedding,
    Input,
    InputLayer,
    LayerNormalization,
    LeakyReLU,
    Masking,
    PReLU,
    ReLU,
    Softmax,
    SpatialDropout1D,
)
from .merging import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from .recurrent import GRU, LSTM, Bidirectional, SimpleRNN, TimeDistributed
from .steps import (
    AveragePooling1D,
    Conv1D,
    Cropping1D,
    DepthwiseConv1D,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
    Permute,
    RepeatVector,
    Reshape,
    SeparableConv1D,
    UpSampling1D,
    ZeroPadding1D,
)

# Keras's other names.
Convolution1D, MaxPool1D, AvgPool1D = Conv1D, MaxPooling1D, AveragePooling1D
GlobalMaxPool1D, GlobalAvgPool1D = GlobalMaxPooling1D, GlobalAveragePooling1D

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "Activation",
    "Add",
    "Average",
    "AveragePooling1D",
    "AvgPool1D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Convolution1D",
    "Cropping1D",
    "Dense",
    "DepthwiseConv1D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
    "Input",
    "InputLayer",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPooling1D",
    "Maximum",
    "Minimum",
    "Multiply",
    "PReLU",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "SeparableConv1D",
    "SimpleRNN",
    "Softmax",
    "SpatialDropout1D",
    "Subtract",
    "TimeDistributed",
    "UpSampling1D",
    "ZeroPadding1D",
    "add",
    "average",
    "concatenate",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]  # fmt: skip
