"""ONNX's own conformance tests, run on lstmc: those of the recurrent operators all pass, and of the
others those on this page. A test that lstmc refuses counts for ONNX's runner as one that doesn't
concern it; so the names of those that pass are listed here, and none can vanish unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
import lstmc.onnx_backend as backend  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnx.backend.test import BackendTest  # noqa: E402
from onnx.backend.test.case.node import collect_testcases  # noqa: E402
from onnx.backend.test.runner import (  # noqa: E402
    BackendIsNotSupposedToImplementIt,
    Runner,
    _normalize_tensor,
)
