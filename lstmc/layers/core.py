"""Layers on features: Dense, Embedding, activations, normalization, dropout, and Input."""

from __future__ import annotations

from typing import Any

from ..errors import ConversionError
from .base import Layer, own
from .symbols import Node, Symbol


class InputLayer(Layer):
    """The shape of what a model takes: ``shape`` without the batch, or ``batch_shape`` with it.

    None is a size left open, of the batch and of the steps. dtype: "float32", or "int32" and its
    like for indices of an Embedding.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        *,
        batch_shape: Any = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        for option in ("batch_input_shape", "input_shape"):
            value = options.pop(option, None)
            if value is not None and option == "input_shape":
                shape = value
            elif value is not None:
                batch_shape = value
        for option in ("sparse", "ragged", "optional"):
            if options.get(option) in (None, False):
                options.pop(option, None)
        if shape is None and batch_shape is None:
            raise ConversionError("Input: it has no shape; give shape=(steps, features)")
        if isinstance(shape, int):
            shape = (shape,)
        given = {"batch_shape": batch_shape} if shape is None else {"input_shape": shape}
        super().__init__({}, {**options, **given, "batch_size": batch_size, "name": name})
        self.dtype = str(dtype or "float32")
        assert self._input_shape is not None
        self.shape = self._input_shape
        self._nodes = [Node(self, 0)]

    @property
    def output(self) -> Symbol:
        """The model's input, to call layers with."""
        return Symbol(self, 0, 0)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ConversionError(f"layer '{self.name}' (InputLayer): it is not called, it is an input")

    def _weight_names(self) -> list[str]:
        return []

    def _entry(self) -> dict[str, Any]:
        config = {"name": self.name, "dtype": self.dtype, "batch_shape": list(self.shape)}
        return {"class_name": "InputLayer", "module": "keras.layers", "config": config}

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = self._entry()["config"]
        return config


def Input(
    shape: Any = None, batch_size: int | None = None, dtype: str | None = None, **options: Any
) -> Symbol:
    """What an :class:`InputLayer` gives: the beginning of a functional model, or the first entry of
    a Sequential."""
    return InputLayer(shape, batch_size, dtype, **options).output


class Dense(Layer):
    """``activation(x kernel + bias)`` on the last axis. Weights: kernel [features, units], bias
    [units]."""

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class Embedding(Layer):
    """Rows of a table by their numbers, [batch, time] -> [batch, time, output_dim]. With
    ``mask_zero`` number 0 is padding. Weights: embeddings [input_dim, output_dim]."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        *,
        mask_zero: bool = False,
        **options: Any,
    ) -> None:
        length = options.pop("input_length", None)
        if length is not None and options.get("input_shape") is None:
            options["input_shape"] = length if isinstance(length, (list, tuple)) else (length,)
        super().__init__(
            {
                "input_dim": input_dim,
                "output_dim": output_dim,
                "embeddings_initializer": embeddings_initializer,
                "mask_zero": mask_zero,
            },
            options,
        )


class Masking(Layer):
    """Steps whose features are all ``mask_value`` are padding."""

    def __init__(self, mask_value: float = 0.0, **options: Any) -> None:
        super().__init__(own(locals()), options)


class Dropout(Layer):
    """In training, each number is 0 with probability ``rate``, the others are divided by
    1 - rate; otherwise nothing."""

    drops = "element"

    def __init__(self, rate: float, **options: Any) -> None:
        super().__init__(own(locals()), options)

    @property
    def rate(self) -> float:
        return float(self._config["rate"])


class SpatialDropout1D(Dropout):
    """As Dropout, with the same features of a row dropped in every step."""

    drops = "steps"


class Activation(Layer):
    """A function by its name."""

    def __init__(self, activation: Any, **options: Any) -> None:
        super().__init__(own(locals()), options)


class ReLU(Layer):
    """x from ``threshold`` on, at most ``max_value``; below it negative_slope (x - threshold)."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class LeakyReLU(Layer):
    """x from 0 on, below it negative_slope x. Keras 2 calls the slope alpha."""

    def __init__(self, negative_slope: float = 0.3, **options: Any) -> None:
        alpha = options.pop("alpha", None)
        slope = negative_slope if alpha is None else alpha
        super().__init__({"negative_slope": slope}, options)


class PReLU(Layer):
    """x from 0 on, below it alpha x, alpha being trained. Weights: alpha [features]; of a sequence
    [1, features], which needs shared_axes=[1]."""

    def __init__(
        self, alpha_initializer: Any = "zeros", *, shared_axes: Any = None, **options: Any
    ) -> None:
        shared = [shared_axes] if isinstance(shared_axes, int) else shared_axes
        super().__init__({"alpha_initializer": alpha_initializer, "shared_axes": shared}, options)


class ELU(Layer):
    """x from 0 on, below it alpha (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, **options: Any) -> None:
        super().__init__(own(locals()), options)


class Softmax(Layer):
    """exp(x) divided by its sum over an axis."""

    def __init__(self, axis: int = -1, **options: Any) -> None:
        super().__init__(own(locals()), options)


class LayerNormalization(Layer):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over the features. Weights: gamma,
    beta [features]."""

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)


class BatchNormalization(Layer):
    """gamma (x - moving_mean) / sqrt(moving_variance + epsilon) + beta, as it is in inference.

    lstmc does not train one: with the statistics of a batch, a row's result would depend on the
    rows beside it. So ``trainable=False`` must be said; Keras then computes the same in training.
    Weights: gamma, beta, moving_mean, moving_variance [features].
    """

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        **options: Any,
    ) -> None:
        super().__init__(own(locals()), options)
        self.trainable = self._trainable

    @property
    def trainable(self) -> bool:
        """False."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if self._flag("trainable", value):
            self._refuse("trainable", value, NOT_TRAINED)


NOT_TRAINED = (
    "is not supported: the statistics of a batch make a row depend on the others; use "
    "LayerNormalization, or trainable=False and set_weights"
)

__all__ = [
    "ELU", "Activation", "BatchNormalization", "Dense", "Dropout", "Embedding", "Input",
    "InputLayer", "LayerNormalization", "LeakyReLU", "Masking", "PReLU", "ReLU", "Softmax",
    "SpatialDropout1D",
]  # fmt: skip
