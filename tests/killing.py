"""Runs `lstmc` in children that die at a chosen moment, as a power cut would end them.

    killing.py SEED ATTEMPTS ARGUMENT...     (the arguments of lstmc, with --resume)

A child is killed (SIGKILL) at a random one of its writes, syncs and renames, in the middle of a
write or beside it; what it had written and not synced is lost, and reads as garbage. Then the next
one resumes, until one gets through. Prints the number of children that were killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import lstmc
from lstmc import cli
from lstmc.scale import arrayfile, folder, work

GARBAGE = b"\xa5"


def die_after(events: int) -> None:
    """Arm this process."""
    left = events
    unsynced: list[tuple[str, int, int]] = []  # file, place, size
    put, fsync, replace = arrayfile.ArrayFile.__setitem__, os.fsync, Path.replace
    write_bytes, unlink = Path.write_bytes, Path.unlink

    def event() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            for name, place, size in unsynced:
                if Path(name).exists():
                    with Path(name).open("r+b") as f:
                        f.seek(place)
                        f.write(GARBAGE * size)
            os.kill(os.getpid(), signal.SIGKILL)

    def putting(self, cut, block):
        unsynced.extend((self.file.name, place, size) for place, size in self._pieces(cut)[1])
        event()
        put(self, cut, block)
        event()

    def syncing(handle):
        event()
        fsync(handle)
        name = str(Path(f"/proc/self/fd/{handle}").readlink())
        unsynced[:] = [u for u in unsynced if os.path.realpath(u[0]) != name]
        event()

    def replacing(self, target):
        event()
        result = replace(self, target)
        at = [u for u in unsynced if Path(u[0]) == self]
        unsynced[:] = [u for u in unsynced if u not in at]
        unsynced.extend((str(target), *u[1:]) for u in at)
        event()
        return result

    def writing(self, data):
        event()
        unsynced.append((str(self), 0, len(data)))
        return write_bytes(self, data)

    def unlinking(self, missing_ok=False):
        unlink(self, missing_ok)
        event()

    arrayfile.ArrayFile.__setitem__, os.fsync, Path.replace = putting, syncing, replacing
    Path.write_bytes, Path.unlink = writing, unlinking


def killed_after(events: int, work: Callable[[], object]) -> bool:
    """Do some work in a child that dies at its n-th event; False if it got through before."""
    child = os.fork()
    if not child:
        die_after(events)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, os.WEXITSTATUS(status)
        return False
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    return True


def main() -> None:
    rng = random.Random(int(sys.argv[1]))
    output = Path(sys.argv[sys.argv.index("--output") + 1])
    lstmc.set_num_threads(1)
    if any(".parquet" in a for a in sys.argv):
        import pyarrow.parquet  # noqa: F401  # once, not in every child
    folder.GROUP_FILES = 4
    for killed in range(int(sys.argv[2])):
        events = rng.randint(1, 40)

        def resume(pause: float = rng.choice([0, 0, 0.002])) -> None:
            work.SYNC_SECONDS = pause
            os._exit(cli.main(sys.argv[3:]))

        if not killed_after(events, resume):
            print(killed)
            return
        for path in [output, *output.glob("[!.]*")]:
            assert not path.is_file() or GARBAGE * 8 not in path.read_bytes(), path
    sys.exit("it never got through")


if __name__ == "__main__":
    main()
