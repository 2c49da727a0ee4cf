"""lstmc with the interface of a peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from peers import Form

import lstmc

if TYPE_CHECKING:
    from workloads import Case

    from lstmc import graph as g

CAN_THREAD = hasattr(lstmc, "set_num_threads")


class Lstmc:
    name = "lstmc"
    package = "lstmc"

    def forms(
        self, case: Case, layers: list[g.Layer], x: np.ndarray, threads: int
    ) -> Sequence[Form]:
        import workloads

        before = (lambda: lstmc.set_num_threads(threads)) if CAN_THREAD else None
        if before:
            before()
        elif threads > 1:
            return []
        model = workloads.model(case, layers)
        if not case.step:
            return [Form("predict", lambda: model.predict(x), before=before)]
        stream = model.stream(case.batch)
        row, out = x[0], np.empty((case.batch, case.features), np.float32)
        return [Form("step", lambda: stream.step(row, out), before=before)]
