"""Every error lstmc raises on purpose.

Each one is an :class:`Error` and also the built-in exception that fits, so that callers may
catch either. Messages are one line and say what was expected, what came, and what to do.
"""

from __future__ import annotations


class Error(Exception):
    """Base class of all errors raised by lstmc."""


class ConversionError(Error, ValueError):
    """A source model holds something that lstmc can't represent exactly, or lacks something.

    The message names the layer, the option and what to do about it.
    """


class FormatError(Error, ValueError):
    """A file is corrupt, truncated, of a newer format version, or not what its name says."""


class ShapeError(Error, ValueError):
    """An array has another shape than the model takes; the message gives both."""


class DtypeError(Error, TypeError):
    """An array has a dtype that would have to be cast with a change of meaning."""


class RangeError(Error, ValueError):
    """A value lies outside what the model takes, such as an index beyond an embedding's table."""


class UnknownNameError(Error, ValueError):
    """Nothing has the name given, be it a loss, an optimizer, a metric or a layer; the message
    lists the names there are."""


class DivergenceError(Error, ArithmeticError):
    """The loss of a step in training is NaN or infinite; the model has the weights from before."""


class OptionError(Error, TypeError):
    """A layer has no option of this name; the message lists those it has."""


class TargetError(Error, ValueError):
    """A SIMD target is unknown, or this CPU can't run it."""


class OutOfMemoryError(Error, MemoryError):
    """The arena that a call needs could not be allocated."""
