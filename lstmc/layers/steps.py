"""Layers on steps: convolution, pooling, and what changes the shape."""

from __future__ import annotations

from typing import Any, ClassVar

from .base import Layer, own


class Conv1D(Layer):
    """Convolution over the steps. padding: "valid", "same" or "causal". Weights: kernel
    [kernel_size, features / groups, filters], bias [filters]."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class DepthwiseConv1D(Layer):
    """Convolution of each feature by itself. Weights: kernel [kernel_size, features,
    depth_multiplier], bias [features * depth_multiplier]."""

    initial: ClassVar[dict[str, str]] = {"kernel": "depthwise_initializer"}

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class SeparableConv1D(Layer):
    """A DepthwiseConv1D, then a Dense on its features. Weights: depthwise_kernel [kernel_size,
    features, depth_multiplier], pointwise_kernel [1, features * depth_multiplier, filters], bias
    [filters]."""

    initial: ClassVar[dict[str, str]] = {
        "depthwise_kernel": "depthwise_initializer",
        "pointwise_kernel": "pointwise_initializer",
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class MaxPooling1D(Layer):
    """The largest of ``pool_size`` steps, every ``strides`` steps (pool_size if None)."""

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        strides = pool_size if strides is None else strides
        super().__init__(own(locals()), options)


class AveragePooling1D(Layer):
    """The mean of ``pool_size`` steps, every ``strides`` steps (pool_size if None)."""

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        strides = pool_size if strides is None else strides
        super().__init__(own(locals()), options)


class GlobalMaxPooling1D(Layer):
    """The largest of all steps, [batch, features]; with keepdims [batch, 1, features]."""

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **options: Any
    ) -> None:
        super().__init__(own(locals()), options)


class GlobalAveragePooling1D(Layer):
    """The mean of all steps that count, [batch, features]; with keepdims [batch, 1, features]."""

    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **options: Any
    ) -> None:
        super().__init__(own(locals()), options)


class ZeroPadding1D(Layer):
    """Zeros before and after the steps: a number for both, or two."""

    def __init__(self, padding: Any = 1, data_format: str | None = None, **options: Any) -> None:
        super().__init__({"padding": _pair(padding), "data_format": data_format}, options)


class Cropping1D(Layer):
    """Drops steps at the beginning and at the end: a number for both, or two."""

    def __init__(self, cropping: Any = (1, 1), **options: Any) -> None:
        super().__init__({"cropping": _pair(cropping)}, options)


class UpSampling1D(Layer):
    """Each step ``size`` times; needs a known number of steps."""

    def __init__(self, size: int = 2, **options: Any) -> None:
        super().__init__(own(locals()), options)


class Flatten(Layer):
    """[batch, time, features] as [batch, time * features]; needs a known number of steps."""

    def __init__(self, data_format: str | None = None, **options: Any) -> None:
        super().__init__(own(locals()), options)


class Reshape(Layer):
    """Another shape, without the batch: (steps, features) or (features,); -1 is what is left."""

    def __init__(self, target_shape: Any, **options: Any) -> None:
        super().__init__(own(locals()), options)


class Permute(Layer):
    """Axes in another order, counted from 1: (2, 1) changes steps and features."""

    def __init__(self, dims: Any, **options: Any) -> None:
        super().__init__(own(locals()), options)


class RepeatVector(Layer):
    """[batch, features] at each of ``n`` steps."""

    def __init__(self, n: int, **options: Any) -> None:
        super().__init__(own(locals()), options)


def _pair(value: Any) -> Any:
    """Two numbers as JSON has them; the converter says if they are none."""
    if isinstance(value, (list, tuple)):
        return [int(n) if type(n).__module__ == "numpy" else n for n in value]
    return value


__all__ = [
    "AveragePooling1D", "Conv1D", "Cropping1D", "DepthwiseConv1D", "Flatten",
    "GlobalAveragePooling1D", "GlobalMaxPooling1D", "MaxPooling1D", "Permute", "RepeatVector",
    "Reshape", "SeparableConv1D", "UpSampling1D", "ZeroPadding1D",
]  # fmt: skip
