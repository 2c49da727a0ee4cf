"""Unfinished output: a folder beside the output, with the data and a journal of what is safe.

`.y.npy.lstmc-part/` holds

    lock       held while a run works here (flock)
    journal    JSON: identity (model, inputs), progress; replaced as a whole, after the data it
               speaks of has been synced to disk
    ...        data, by the owner's names

Only a finished output gets the final name, by a rename, so that readers see the old one or the new
one. A run that is killed at any moment, power cuts included, can go on after the last checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..terminal import UsageError
from .arrayfile import ChangedError

SYNC_SECONDS = 1.0  # between checkpoints; a run that is killed does so much again at most

Identity = dict[str, Any]


class ResumeError(UsageError):
    """What an interrupted run left belongs to something else."""


class Work:
    """The folder of one output while a run works on it. Made by :func:`working`.

    ``progress`` is the journal's: {} at the beginning, else what :meth:`note` got. It is JSON.
    """

    def __init__(self, output: Path, identity: Identity) -> None:
        self.output, self.identity = output, identity
        self.folder = folder_of(output)
        self.progress: dict[str, Any] = {}
        self.told = ""  # how far it is, in words
        self._synced = time.monotonic()
        self._dirty = False
        self._data: list[BinaryIO] = []

    def path(self, name: str) -> Path:
        return self.folder / name

    def start_over(self) -> None:
        """What an earlier run left is of no use."""
        _empty(self.folder)
        self.progress, self.told = {}, ""

    def open(self, name: str) -> BinaryIO:
        """A file to write data to, without a buffer; synced by checkpoints, closed at the end."""
        file = self.path(name).open("r+b", buffering=0)
        self._data.append(file)
        return file

    def note(self, progress: dict[str, Any], told: str) -> None:
        """All that ``progress`` says has been written, maybe not synced yet."""
        self.progress, self.told, self._dirty = progress, told, True
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Data first, then the journal that vouches for them."""
        if not self._dirty:
            return
        for file in self._data:
            os.fsync(file.fileno())
        journal = {"identity": self.identity, "progress": self.progress, "told": self.told}
        write_synced(self.path("journal"), json.dumps(journal).encode())
        self._dirty, self._synced = False, time.monotonic()

    def commit(self, name: str) -> None:
        """A file of the folder becomes the output; the folder goes when :func:`working` ends."""
        with self.path(name).open("rb") as f:
            os.fsync(f.fileno())
        self.path(name).replace(self.output)
        sync_folder(self.output.parent)
        self.progress = {}

    def need(self, nbytes: int) -> None:
        """OSError if the disk has no room for so many more bytes: better now than in an hour."""
        if not hasattr(os, "statvfs"):
            return
        found = os.statvfs(self.folder)
        free = found.f_bavail * found.f_frsize
        if found.f_blocks and nbytes > free:
            text = f"no space left: {nbytes:,} bytes are needed, {free:,} are free"
            raise OSError(28, text, str(self.output))

    def _resume(self) -> None:
        try:
            journal = json.loads(self.path("journal").read_bytes())
            was, progress = dict(journal["identity"]), dict(journal["progress"])
            told = str(journal["told"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # there was no checkpoint
        now = json.loads(json.dumps(self.identity))
        for key in [*now, *was]:
            if now.get(key) != was.get(key):
                raise ResumeError(
                    f"'{self.output}' can't be resumed: its {key} was {_short(was.get(key))}, "
                    f"now it is {_short(now.get(key))}; without --resume it starts over"
                )
        self.progress, self.told = progress, told


@contextlib.contextmanager
def working(output: Path, identity: Identity, resume: bool) -> Iterator[Work]:
    """The folder for an output, locked; with ``resume``, what an earlier run left is kept.

    After an interrupt, a full disk and the like the folder stays, and the error says that
    --resume goes on. After errors that come again it goes, as it does when all is well.

    Raises UsageError if another run works on the output, ResumeError if what is there has another
    identity.
    """
    work = Work(output, identity)
    with locked(work.folder, output):
        if resume:
            work._resume()
        if not work.progress:
            work.start_over()
        try:
            yield work
        except BaseException as e:
            passing = isinstance(e, KeyboardInterrupt | OSError | MemoryError)
            if passing and not isinstance(e, ChangedError):
                with contextlib.suppress(OSError):
                    work.checkpoint()
                if work.path("journal").exists():
                    raise _kept(e, work) from e
            _remove(work.folder)
            raise
        finally:
            for file in work._data:
                file.close()
        _remove(work.folder)


def _kept(error: BaseException, work: Work) -> BaseException:
    """The error, with a word on what to do."""
    told = f"{work.told} kept, --resume goes on"
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(f"interrupted; {told}")
    if isinstance(error, OSError) and error.errno is not None:
        name = error.filename if error.filename is not None else str(work.output)
        return OSError(error.errno, f"{error.strerror} ({told})", name)
    return type(error)(f"{error} ({told})".strip())


@contextlib.contextmanager
def locked(folder: Path, output: Path) -> Iterator[None]:
    """Hold the folder's lock; make the folder if need be. UsageError if another run holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: nobody watches there
        folder.mkdir(exist_ok=True)
        yield
        return
    path = folder / "lock"
    while True:
        folder.mkdir(exist_ok=True)
        try:
            file = path.open("wb")
        except FileNotFoundError:  # another run has just finished and cleaned up
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another run is writing '{output}'") from None
            except OSError:
                pass  # a file system without locks
            try:
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                yield
                return


def _empty(folder: Path) -> None:
    """All but the lock goes, the journal first: it must never vouch for data that come after."""
    with contextlib.suppress(FileNotFoundError):
        (folder / "journal").unlink()
        sync_folder(folder)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _remove(folder: Path) -> None:
    """The lock goes last: until then no other run works here."""
    with contextlib.suppress(OSError):
        _empty(folder)
        (folder / "lock").unlink()
        folder.rmdir()


def folder_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.lstmc-part")


def write_synced(path: Path, data: bytes) -> None:
    """Whole or not at all, and on disk when this returns."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    with new.open("r+b") as f:
        os.fsync(f.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to disk, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems sync no folders
            os.fsync(handle)
    finally:
        os.close(handle)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."
