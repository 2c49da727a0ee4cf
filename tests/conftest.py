"""What every test needs, set before a framework is imported."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that tests start must get the installed lstmc, not the sources in the folder they start
# in, which have no compiled core.
os.environ["PYTHONSAFEPATH"] = "1"

import pytest

try:
    import lstmc
except ImportError as e:
    pytest.exit(f"lstmc is not built: {e}; run `make test`", returncode=2)

try:
    import torch
except ImportError:
    pass
else:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_target():
    """A test that chooses a target leaves the choice as it was."""
    yield
    lstmc.set_target(os.environ.get("LSTMC_TARGET") or "auto")
