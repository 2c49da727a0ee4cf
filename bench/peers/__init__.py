"""Engines that lstmc is measured against, one file each, all with the interface of :class:`Peer`.

To add one: a file with a class, and a line in :func:`all_peers`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g


@dataclass
class Form:
    """One way to make an engine compute: the harness times each and keeps the fastest.

    call reads the input array it was prepared for and computes a result; for a step it also carries
    the state on, from zero at the first call. read makes its result an array as lstmc would give.
    """

    name: str
    call: Callable[[], Any]
    read: Callable[[Any], np.ndarray] = np.asarray
    before: Callable[[], object] | None = None  # called ahead of a timed block, not timed


class Peer(Protocol):
    """An engine."""

    name: str
    package: str  # as pip calls it

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        """Ways to run the case; none if the engine can't. x may change between calls."""
        ...


def version(peer: Peer) -> str | None:
    """The installed version, None if the peer is absent."""
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return None


def all_peers() -> list[Peer]:
    """Every peer, installed or not."""
    from .litert import LiteRT
    from .ort import OnnxRuntime
    from .ov import OpenVINO
    from .pytorch import PyTorch

    return [PyTorch(), OnnxRuntime(), OpenVINO(), LiteRT()]
