"""A model as a function of tables, for engines that spread work over processes and machines.

    scorer = Scorer("forecaster.lstmc")
    ddf.map_partitions(scorer, meta=scorer(ddf._meta))       # Dask
    dataset.map_batches(scorer)                              # Ray Data
    frame.mapInPandas(scorer.each, schema=...)               # Spark

docs/howto/scale.md has them whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ShapeError
from .scale import columns as c
from .scale.ragged import Ragged, predict_rows
from .threads import set_num_threads

if TYPE_CHECKING:
    from .model import Model

_HERE = os.urandom(8)  # with the process id: where a scorer was made


class Scorer:
    """Adds a model's outputs to a table as columns; can be pickled, and needs no set-up.

    The model travels with it: workers read no file. A process keeps the model once, however many
    copies arrive, and uses ``threads`` threads for a call once a copy has come from elsewhere, as
    engines start a process for every core.

    Args:
        model: a model, or the path of one, which may be one to convert.
        columns: the column of each input and output, where it isn't of its name; a list of
            columns makes the features of an input, one each.
        keep: the columns that the result has besides the outputs; None for all.
        threads: see above. The environment's LSTMC_NUM_THREADS goes first.

    Attributes:
        inputs: the columns that it reads, in order.
        outputs: the columns that it adds, in order.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        *,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        keep: Sequence[str] | None = None,
        threads: int = 1,
    ) -> None:
        from .model import Model, load

        self.model = model if isinstance(model, Model) else load(model)
        self.keep = None if keep is None else list(keep)
        self.threads = threads
        names = {**dict.fromkeys(self.model.inputs), **dict.fromkeys(self.model.outputs)}
        given = dict(columns or {})
        if unknown := [n for n in given if n not in names]:
            raise ShapeError(f"'{unknown[0]}' is no input or output; there are {list(names)}")
        self._columns = {
            n: [of] if isinstance(of, str) else list(of) for n in names for of in [given.get(n, n)]
        }
        self.inputs = list(dict.fromkeys(x for n in self.model.inputs for x in self._columns[n]))
        outputs = [self._columns[n] for n in self.model.outputs]
        if any(len(o) != 1 for o in outputs):
            raise ShapeError("an output is one column")
        self.outputs = [o[0] for o in outputs]
        if len(set(self.outputs)) < len(self.outputs) or not all(self._columns.values()):
            raise ShapeError("every output needs a column of its own, every input at least one")

    def __call__(self, table: Any) -> Any:
        """The table with the outputs added, of its own kind, rows in their order.

        Args:
            table: a pandas DataFrame, a pyarrow Table or RecordBatch, or a dict of numpy arrays
                [rows, ...] by column name. See :mod:`lstmc.scale.columns` for what a cell is.

        A row gives the bits that it gives alone. In a dict, sequences are one array if those of the
        inputs are, else an object array of arrays.

        Raises:
            ShapeError: a column is missing, has another form, or would be overwritten.
            DtypeError: nulls, text and the like.
            RangeError: as from predict.
        """
        module = type(table).__module__.split(".")[0]
        if isinstance(table, Mapping):
            return self._of_dict(table)
        if module == "pandas" and hasattr(table, "columns"):
            return self._of_pandas(table)
        if module == "pyarrow" and hasattr(table, "schema"):
            return self._of_arrow(table)
        raise TypeError(f"a {type(table).__name__} is no DataFrame, Table or dict of arrays")

    def each(self, tables: Iterable[Any]) -> Iterator[Any]:
        """Calls itself on one table after another, as Spark's mapInPandas wants it."""
        for table in tables:
            yield self(table)

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self), "model": self.model.to_bytes()}
        return {**state, "_from": (_HERE, os.getpid())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        made = state.pop("_from")
        self.__dict__.update({**state, "model": _model(state["model"])})
        if made != (_HERE, os.getpid()):
            set_num_threads(None if os.environ.get("LSTMC_NUM_THREADS") else self.threads)

    # ------------------------------------------------------------------------------- kinds of table

    def _kept(self, names: Iterable[Any]) -> list[Any]:
        """The columns of the result before the outputs; ShapeError for those that don't fit."""
        there = list(names)
        for name in [*self.inputs, *(self.keep or [])]:
            if name not in there:
                raise ShapeError(f"there is no column '{name}' in {there}")
        kept = there if self.keep is None else self.keep
        if taken := [n for n in self.outputs if n in kept]:
            raise ShapeError(f"there is a column '{taken[0]}' already: call the output another")
        return kept

    def _predict(self, found: Mapping[str, c.Column]) -> dict[str, tuple[Any, Any]]:
        """(value, rows) of each output, by the column it goes to."""
        rows: dict[str, Ragged | np.ndarray] = {}
        for v in self.model.graph.inputs:
            rows[v.name] = c.to_input(v, [found[n] for n in self._columns[v.name]])
        results = predict_rows(self.model, rows)
        return {self._columns[v.name][0]: (v, results[v.name]) for v in self.model.graph.outputs}

    def _of_dict(self, table: Mapping[str, Any]) -> dict[str, Any]:
        kept = {n: table[n] for n in self._kept(table)}
        arrays = {n: np.asarray(table[n]) for n in self.inputs}
        found = self._predict({n: c.from_numpy(n, a) for n, a in arrays.items()})
        even = all(a.dtype.kind != "O" for a in arrays.values())
        return kept | {n: c.to_numpy(v, r, even) for n, (v, r) in found.items()}

    def _of_pandas(self, table: Any) -> Any:
        kept = table[self._kept(table.columns)]
        found = self._predict({n: c.from_pandas(n, table[n]) for n in self.inputs})
        return kept.assign(**{n: c.to_pandas(v, r) for n, (v, r) in found.items()})

    def _of_arrow(self, table: Any) -> Any:
        kept = table.select(self._kept(table.schema.names))
        found = self._predict({n: c.from_arrow(n, table.column(n)) for n in self.inputs})
        for name, (v, rows) in found.items():
            kept = kept.append_column(name, c.to_arrow(v, rows))
        return kept


@lru_cache(maxsize=8)
def _model(blob: bytes) -> Model:
    """One model a process for each file's bytes."""
    from .model import Model

    return Model(blob)
