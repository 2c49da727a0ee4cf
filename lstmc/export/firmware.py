"""What a firmware is made of and called."""

from __future__ import annotations

from dataclasses import dataclass

from .freeze import Frozen
from .sample import Sample


@dataclass
class Firmware:
    """What the files are called and say."""

    frozen: Frozen
    name: str
    external: bool
    sample: Sample | None
    report: list[str]
    source: str

    @property
    def upper(self) -> str:
        return self.name.upper()
