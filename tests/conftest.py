"""What every test needs, set before a framework is imported."""

import os
import random
import shlex
import shutil

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Programs that tests start must get the installed lstmc, not the sources in the folder they start
# in, which have no compiled core.
os.environ["PYTHONSAFEPATH"] = "1"

import once
import pytest
from sweeping import Sweep

#: Those that take longest, in this order: begun last, one would go on when all others have ended.
LONG_FILES = (
    "test_c_core", "test_embedded_rules", "test_machines", "test_export_train", "test_targets",
    "test_training_kernels", "test_kernels", "test_threads",
)  # fmt: skip

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


@pytest.hookimpl(tryfirst=True)  # before hypothesis reads its option
def pytest_configure(config):
    """Before there are other processes: a folder for all of them; the seed of random cases, where
    they are not always the same ones (see cases.py)."""
    once.folder()
    if os.environ.get("LSTMC_CASES"):
        # In the environment, where the other processes of the same run find it.
        seed = os.environ.setdefault("LSTMC_SEED", str(random.randrange(2**32)))
        config.option.hypothesis_seed = seed


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Several processes take the files in this order."""
    if hasattr(config, "workerinput"):
        place = {name: i for i, name in enumerate(LONG_FILES)}
        items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_terminal_summary(terminalreporter, config):
    if cases := os.environ.get("LSTMC_CASES"):
        seed = config.option.hypothesis_seed
        terminalreporter.write_line(f"{cases} random cases a test, LSTMC_SEED={seed}")


@pytest.fixture(autouse=True)
def _same_target():
    """A test that chooses a target leaves the choice as it was."""
    yield
    lstmc.set_target(os.environ.get("LSTMC_TARGET") or "auto")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """tests/c/sweep.c, which test_math.py and test_activations.py run."""
    compiler = shlex.split(os.environ.get("CC", "gcc"))[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler {compiler}")
    return Sweep(tmp_path_factory.mktemp("sweep"))
