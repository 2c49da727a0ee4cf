"""Keras models as they are kept - `.keras` archives, HDF5 files, live objects - opened alike.

:func:`open_source` gives a :class:`Source`: the model's config, the version of Keras that wrote it,
and its weights on request. What the config means is :mod:`.keras_config`'s business.

Nothing is trusted: sizes are checked before anything is read, links and external data are refused,
no object is ever unpickled or executed. Keras itself is not imported. The layouts read here are
those of ``keras/src/saving/saving_lib.py`` (``.keras``, Keras 2.13 and later) and
``keras/src/legacy/saving/legacy_h5_format.py`` (``.h5``, Keras 2.0 and later).
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import re
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lstmc.errors import ConversionError, Error, FormatError

if TYPE_CHECKING:
    from .keras_tree import Leaf, Model

PACKAGES = ("keras", "tf_keras")  # first parts of the modules that Keras's own classes live in

MAX_MEMBER = 1 << 32  # bytes of one archive member or data set, as declared
MAX_JSON = 1 << 26
MAX_NAMES = 1 << 20  # strings in one attribute
# A declared size beyond SMALL must be backed by at least a RATIO-th of it in the file: Keras
# stores weights uncompressed, and deflate can't reach more than about 1032 : 1 in any case.
SMALL = 1 << 20
RATIO = 1000

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HDF5_OFFSETS = (0, 512, 1024, 2048)  # where the superblock may be, behind a user block


class Source:
    """An opened model: ``root`` is {"class_name": ..., "config": ...}, JSON types only.

    ``partitioned`` says how :attr:`Leaf.places` have to be counted for this container.
    """

    partitioned = False

    def __init__(self, root: Any, version: str, file: str | None) -> None:
        self.root, self.version, self.file = root, version, file

    def weights(self, leaf: Leaf) -> Sequence[Any]:
        """What is stored for one layer, in Keras's order: things with shape, dtype and [()]."""
        raise NotImplementedError

    def unused(self, model: Model) -> list[str]:
        """Names of what the container holds weights for, but no layer of the model takes."""
        raise NotImplementedError


@contextmanager
def open_source(source: Any) -> Iterator[Source]:
    """Open a path or a live model; the weights can be read until the context ends."""
    if not isinstance(source, (str, os.PathLike)):
        yield LiveSource(source)
        return
    path = Path(source)
    file = path.name
    with ExitStack() as stack:
        with readable(file):
            stream = stack.enter_context(path.open("rb"))
            head = stream.read(HDF5_OFFSETS[-1] + len(HDF5_MAGIC))
            stream.seek(0)
        if head.startswith(b"PK\x03\x04"):
            yield _open_archive(stream, file, stack)
        elif any(head[i:].startswith(HDF5_MAGIC) for i in HDF5_OFFSETS):
            yield _open_h5(stream, file, stack)
        elif not head:
            raise FormatError(f"'{file}' is empty")
        else:
            hint = "; it is a Git LFS pointer, fetch the file" if b"git-lfs" in head[:60] else ""
            raise FormatError(f"'{file}' is neither a .keras archive nor an HDF5 file{hint}")


@contextmanager
def readable(file: str) -> Iterator[None]:
    """What zipfile, h5py and the operating system raise on a bad file becomes FormatError."""
    try:
        yield
    except (Error, FileNotFoundError):
        raise
    except MemoryError as e:
        raise FormatError(f"'{file}' takes more memory to read than there is") from e
    except OSError as e:
        what = e.strerror or str(e) or type(e).__name__
        raise FormatError(f"can't read '{file}': {_line(what)}") from e
    except Exception as e:  # BadZipFile, zlib.error, KeyError, OverflowError ...: no end of them
        raise FormatError(f"'{file}' is corrupt: {_line(str(e) or type(e).__name__)}") from e


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


def _json(text: str | bytes, what: str) -> Any:
    if len(text) > MAX_JSON:
        raise FormatError(f"{what} is larger than {MAX_JSON} bytes")
    try:
        return json.loads(text)
    except RecursionError as e:
        raise ConversionError(f"{what} is nested too deeply to be a model lstmc can hold") from e
    except ValueError as e:  # JSONDecodeError, UnicodeDecodeError, integers of 5000 digits
        raise FormatError(f"{what} is not valid JSON: {_line(str(e))}") from e


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as e:
        raise ConversionError(
            "reading Keras files needs h5py, which is not installed: pip install lstmc[keras]"
        ) from e
    return h5py


# --------------------------------------------------------------------------------------- HDF5


def _open_hdf5(stream: BinaryIO, stack: ExitStack) -> Any:
    """h5py.File, after a look at what the HDF5 library itself doesn't check."""
    h5py = _h5py()
    if isinstance(stream, io.BytesIO):
        _check_heaps(stream.getbuffer().tobytes())
    else:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_heaps(data)
    return stack.enter_context(h5py.File(stream, "r"))


def _check_heaps(data: bytes | mmap.mmap) -> None:
    """Walk the global heaps, where HDF5 keeps strings: libhdf5 2.0 hangs on an empty free object.

    HDF5 File Format Specification 3.0, III.E: "GCOL", version 1, 3 zeros, size of the collection;
    then objects of index, reference count, 4 zeros, size and data, padded to 8 bytes. Index 0 is
    free space, whose size includes its header.
    """
    at = -1
    while (at := data.find(b"GCOL\1\0\0\0", at + 1)) >= 0:
        size = int.from_bytes(data[at + 8 : at + 16], "little")
        end = at + size
        if size < 16 or end > len(data):
            raise FormatError(f"corrupt HDF5 file: the heap at {at} reaches beyond its end")
        place = at + 16
        while place + 16 <= end:
            index, length = struct.unpack_from("<H6xQ", data, place)
            need = 16 + (length + 7) // 8 * 8 if index else length
            if not 0 < need <= end - place:
                raise FormatError(f"corrupt HDF5 file: the heap at {at} has broken objects")
            place += need


def child(group: Any, path: str) -> Any:
    """group[path], or None if it doesn't exist. Only hard links are followed.

    A soft or external link could lead to any other place or file of this machine.
    """
    h5py = _h5py()
    for part in path.split("/"):
        if not isinstance(group, h5py.Group) or not part or part == ".":
            return None
        link = group.get(part, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise FormatError(f"'{group.name}/{part}' is a link; Keras writes none")
        group = group[part]
    return group


def group_at(parent: Any, path: str) -> Any:
    found = child(parent, path)
    return found if isinstance(found, _h5py().Group) else None


class Stored:
    """A data set whose size has been looked at, but which has not been read yet."""

    def __init__(self, dataset: Any, file: str, name: str) -> None:
        with readable(file):
            if not isinstance(dataset, _h5py().Dataset):
                raise FormatError(f"'{file}': the weight '{name}' is missing")
            if dataset.external or dataset.is_virtual:
                raise FormatError(f"'{file}': the weight '{name}' lies outside of the file")
            size = dataset.nbytes
            if size > MAX_MEMBER or size > max(SMALL, RATIO * dataset.id.get_storage_size()):
                raise FormatError(
                    f"'{file}': the weight '{name}' declares {size} bytes, "
                    f"the file holds {dataset.id.get_storage_size()}"
                )
            self.shape, self.dtype, self.name = dataset.shape, dataset.dtype, name
        self._dataset, self._file = dataset, file

    def __getitem__(self, index: Any) -> np.ndarray:
        with readable(self._file):
            return np.asarray(self._dataset[index])


def _attribute(owner: Any, name: str) -> list[str] | None:
    """The strings in an attribute, one if it is a scalar; None if there is no such attribute.

    Of a corrupt type the HDF5 library may make a wild pointer, so strings are all it gets to read.
    """
    if name not in owner.attrs:
        return None
    found = owner.attrs.get_id(name)
    count = math.prod(found.shape)
    if not count:
        return []
    if not isinstance(found.get_type(), _h5py().h5t.TypeStringID) or count > MAX_NAMES:
        raise FormatError(f"corrupt HDF5 file: the attribute '{name}' is not text")
    values = np.asarray(owner.attrs[name]).ravel().tolist()
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def text_in(owner: Any, name: str) -> str | None:
    values = _attribute(owner, name)
    return values[0] if values else None


def names_in(group: Any, name: str) -> list[str]:
    """A list of names kept in attributes, split up where it was too long for a single one."""
    names = _attribute(group, name)
    if names is not None:
        return names
    names, parts = [], 0
    while (part := _attribute(group, f"{name}{parts}")) is not None:
        names += part
        parts += 1
    if not parts:
        raise FormatError(f"corrupt HDF5 file: '{group.name}' has no {name}")
    return names


class H5Source(Source):
    """A whole model in HDF5: config in an attribute, weights by top-level layer.

    The weights of a nested model are one flat list, the trainable ones before the frozen.
    """

    partitioned = True

    def __init__(self, root: Any, version: str, file: str, layers: dict[str, list[Stored]]) -> None:
        super().__init__(root, version, file)
        self._layers = layers

    def weights(self, leaf: Leaf) -> Sequence[Any]:
        stored = self._layers.get(leaf.path[0])
        if stored is None:
            return []
        _check_total(leaf, len(stored))
        mine = [stored[i] for i in leaf.places]
        for expected, weight in zip(leaf.weights, mine, strict=True):
            *parts, last = weight.name.split("/")
            # TensorFlow appends ':0' and, where a name is taken, '_1'.
            wrong = not re.fullmatch(rf"({expected})(_\d+)?(:\d+)?", last)
            # Keras 2 and 3 count frozen weights of nested models differently: trust only names.
            if leaf.mixed:
                names = "|".join(map(re.escape, leaf.path[1:]))
                wrong |= not any(re.fullmatch(rf"({names})(_\d+)?", p) for p in parts)
            if wrong:
                raise ConversionError(
                    f"layer '{leaf.label}': the file keeps '{weight.name}' where its weight "
                    f"'{expected}' should be; load and save the model again with its Keras"
                )
        return mine

    def unused(self, model: Model) -> list[str]:
        return [n for n, s in self._layers.items() if s and n not in model.children]


class WeightsOnly(Source):
    """Weights in HDF5 without a config: ``h5`` is the open file, :mod:`keras_groups` reads it."""

    def __init__(self, version: str, file: str, h5: Any) -> None:
        super().__init__(None, version, file)
        self.h5 = h5


def _open_h5(stream: BinaryIO, file: str, stack: ExitStack) -> Source:
    with readable(file):
        f = _open_hdf5(stream, stack)
        config = text_in(f, "model_config")
        version = text_in(f, "keras_version")
        if config is None:
            if "layer_names" in f.attrs or "layer_names0" in f.attrs or "layers" in f:
                return WeightsOnly(version or "", file, f)
            raise FormatError(f"'{file}' is an HDF5 file, but not a Keras model")
        group = group_at(f, "model_weights")
        if group is None:
            raise FormatError(f"'{file}' has no model_weights")
        version = version or text_in(group, "keras_version")
    root = _json(config, f"'{file}': model_config")
    with readable(file):
        layers: dict[str, list[Stored]] = {}
        for name in [*names_in(group, "layer_names"), "top_level_model_weights"]:
            g = group_at(group, name)
            if g is None:
                if name != "top_level_model_weights":  # Keras 2.6 and later only
                    raise FormatError(f"'{file}' has no weights of layer '{name}'")
                continue
            layers[name] = [Stored(child(g, w), file, w) for w in names_in(g, "weight_names")]
    return H5Source(root, _version(version, file), file, layers)


# ------------------------------------------------------------------------------ .keras archives


class ArchiveSource(Source):
    """A `.keras` archive: variables numbered in groups that follow the nesting of layers."""

    def __init__(self, root: Any, version: str, file: str, h5: Any) -> None:
        super().__init__(root, version, file)
        self._h5 = h5

    def weights(self, leaf: Leaf) -> Sequence[Any]:
        assert self.file is not None
        with readable(self.file):
            own = group_at(self._h5, f"{leaf.owner}/vars")
            name = None if own is None else text_in(own, "name")  # later Keras 3
            if name is not None and name != leaf.owner_name:
                raise ConversionError(
                    f"layer '{leaf.label}': the file keeps weights of '{name}' in its place"
                )
            path = f"{leaf.group}/vars"
            group = group_at(self._h5, path)
            if group is None:
                return []
            keys = sorted(group, key=lambda k: (len(k), k))
            if keys != [str(i) for i in range(len(keys))]:
                raise FormatError(f"'{self.file}': {path} holds {keys[:8]}, not 0, 1, 2 ...")
            return [Stored(child(group, k), self.file, f"{path}/{k}") for k in keys]

    def unused(self, model: Model) -> list[str]:
        assert self.file is not None
        found = []
        with readable(self.file):
            for group, known in model.groups():
                found += [f"{group}/{k}" for k in group_at(self._h5, group) or () if k not in known]
        return found


def _open_archive(stream: BinaryIO, file: str, stack: ExitStack) -> Source:
    with readable(file):
        archive = stack.enter_context(zipfile.ZipFile(stream))
        members = archive.namelist()
        if len(set(members)) != len(members):
            raise FormatError(f"'{file}' holds two members of the same name")

    def read(name: str, limit: int) -> bytes:
        with readable(file):
            info = archive.getinfo(name)
            size, stored = info.file_size, info.compress_size
            if size > limit or size > max(SMALL, RATIO * stored):
                raise FormatError(
                    f"'{file}': {name} declares {size} bytes, {stored} of them stored; "
                    f"at most {limit} are read"
                )
            return archive.read(info)

    for name in ("config.json", "metadata.json"):
        if name not in members:
            raise FormatError(f"'{file}' is a zip file, but not a Keras model: no {name} in it")
    root = _json(read("config.json", MAX_JSON), f"'{file}': config.json")
    metadata = _json(read("metadata.json", MAX_JSON), f"'{file}': metadata.json")
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if "model.weights.h5" not in members:
        if any(m.startswith("model.weights") for m in members):
            raise ConversionError(
                f"'{file}' keeps its weights in another way than model.weights.h5; "
                "load it with its Keras and save it again"
            )
        raise FormatError(f"'{file}' holds no weights: no model.weights.h5 in it")
    _h5py()  # before much is read
    data = read("model.weights.h5", MAX_MEMBER)
    with readable(file):
        h5 = _open_hdf5(io.BytesIO(data), stack)
        if "layers" not in h5 and "_layer_checkpoint_dependencies" in h5:
            raise ConversionError(
                f"'{file}' was written by Keras 2.12, whose .keras format was a draft; "
                "save the model as .h5, or with a later Keras"
            )
    return ArchiveSource(root, _version(version, file), file, h5)


# ----------------------------------------------------------------------------------- live models


class LiveSource(Source):
    """A model in memory. Its own methods are called, but Keras is not imported here."""

    def __init__(self, model: Any) -> None:
        cls = type(model)
        package = cls.__module__.partition(".")[0]
        if package not in PACKAGES or not hasattr(model, "layers"):
            raise ConversionError(
                f"can't convert a {cls.__module__}.{cls.__qualname__}: only keras.Sequential and "
                "functional keras.Model objects can be converted, not subclasses or single layers; "
                "put the layers into a keras.Sequential"
            )
        try:
            for layer in model._flatten_layers(include_self=False, recursive=True):
                _check_class(layer)
                _check_functions(layer)
                for operation in getattr(layer, "operations", ()):
                    _check_class(operation)
            for operation in getattr(model, "operations", ()):
                _check_class(operation)
            config = {"class_name": cls.__name__, "config": model.get_config()}
            # JSON makes of it what a file would hold: lists for tuples, plain numbers.
            root = json.loads(json.dumps(config, default=_plain))
            self._layers: dict[str, list[Any]] = {x.name: x.get_weights() for x in model.layers}
            weights = sum(map(len, self._layers.values()))
            if len(model.get_weights()) > weights:
                raise ConversionError(f"model '{model.name}' has weights that belong to no layer")
        except Error:
            raise
        except Exception as e:  # whatever a layer of the user's raises when asked for its config
            raise ConversionError(
                f"the model's config can't be read: {type(e).__name__}: {_line(str(e))}"
            ) from e
        version = getattr(sys.modules.get(package), "__version__", None)
        super().__init__(root, _version(version, cls.__qualname__), None)
        # Keras 2 puts trainable weights first, Keras 3 keeps the order of layers.
        self.partitioned = self.version.startswith("2.")

    def weights(self, leaf: Leaf) -> Sequence[Any]:
        stored = self._layers.get(leaf.path[0], [])
        _check_total(leaf, len(stored))
        return [stored[i] for i in leaf.places]

    def unused(self, model: Model) -> list[str]:
        return [n for n, w in self._layers.items() if w and n not in model.children]


def _check_class(layer: Any) -> None:
    """Refuse what runs other code than the class of its name: its config wouldn't show it."""
    cls = type(layer)
    if cls.__module__.partition(".")[0] not in PACKAGES:
        raise ConversionError(
            f"layer '{layer.name}' ({cls.__name__}): it is a custom class, of {cls.__module__}; "
            "only Keras's own layers can be converted"
        )
    if "call" in vars(layer) or "__call__" in vars(layer):
        raise ConversionError(
            f"layer '{layer.name}' ({cls.__name__}): its call was replaced on the instance"
        )


def _check_functions(layer: Any) -> None:
    """Refuse a function of the user's own whose name, all a config keeps, is one of Keras's."""
    for option in ("activation", "recurrent_activation"):
        module = getattr(getattr(layer, option, None), "__module__", None)
        if isinstance(module, str) and module.partition(".")[0] not in (*PACKAGES, "tensorflow"):
            raise ConversionError(
                f"layer '{layer.name}': its {option} is a function from '{module}', not one of "
                "Keras's; use a named Keras activation"
            )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else repr(value)


# ----------------------------------------------------------------------------------------- both


def _check_total(leaf: Leaf, found: int) -> None:
    if found != leaf.total:
        raise ConversionError(
            f"layer '{leaf.label}': '{leaf.path[0]}' has {found} weights, expected {leaf.total}; "
            "if it was never built, call the model on data once and save it again"
        )


def _version(version: Any, what: str) -> str:
    """The Keras version, which decides what 'hard_sigmoid' means; never guessed."""
    if not isinstance(version, str) or not re.match(r"[23]\.\d+(\.|$|[a-z-])", version):
        raise ConversionError(
            f"'{what}' was written by Keras {version if version else 'of unknown version'}; "
            "2.x and 3.x can be converted"
        )
    return version
