"""Things by name: as Keras spells them, in any of its ways (MeanSquaredError, mse)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..errors import UnknownNameError

T = TypeVar("T")


def find(what: str, name: object, table: Mapping[str, T], aliases: Mapping[str, str]) -> T:
    """What ``table`` holds under a name; case and underscores are of no account.

    UnknownNameError, with the list of what there is, for all else.
    """
    if isinstance(name, str):
        wanted = _plain(name)
        wanted = aliases.get(wanted, wanted)
        for key, value in table.items():
            if _plain(key) == wanted:
                return value
    names = ", ".join(sorted({*table, *aliases}))
    raise UnknownNameError(f"unknown {what} {name!r}; known are {names}")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
