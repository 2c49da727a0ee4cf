"""Firmware: a model as C99 files that need nothing else (`lstmc export`, docs/howto/embed.md).

``freeze`` takes the numbers that make up a session, ``sources`` what a firmware uses of the core,
``emit`` writes the files; ``sample`` is the self-test's.
"""

from __future__ import annotations

from .build import Exported, export, memory
from .saved import pack_weights, unpack_weights
from .training import Train

__all__ = ["Exported", "Train", "export", "memory", "pack_weights", "unpack_weights"]
