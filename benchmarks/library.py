"""Measures the costs of library calls: imports, compilations, encoding one vector, loading exports and recommenders.

python benchmarks/library.py
python benchmarks/library.py --recommender=exports/recommender

If --export or --recommender is not given, the script first trains a tokenizer and a recommender briefly on synthetic
items. Times are medians over several processes or many calls, on this machine.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

import sid_jax

_EXPORT = flags.DEFINE_string("export", None, "A saved tokenizer; by default, one is trained on synthetic vectors.")
_RECOMMENDER = flags.DEFINE_string(
    "recommender", None, "A saved recommender; by default, one is trained on synthetic histories."
)
_ITEMS = flags.DEFINE_integer("items", 12_101, "Number of synthetic items.")
_FEATURES = flags.DEFINE_integer("features", 384, "Number of features of each synthetic vector.")

# The peak memory is read from VmHWM, because getrusage would never return less than the parent process's peak memory.
_LOAD = """
import re, time
import jax
jax.devices()
began = time.perf_counter()
import sid_jax
loaded = sid_jax.load({folder!r})
seconds = time.perf_counter() - began
print(seconds, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e6)
"""


@contextlib.contextmanager
def count_compilations() -> Iterator[list[str]]:
    """A context manager that collects one entry per program that XLA compiles."""
    compiled: list[str] = []

    def listen(name: str, *_: object, **__: object) -> None:
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def made_vectors(num_items: int, num_features: int, seed: int = 0) -> np.ndarray:
    """Returns random vectors `[N, D]` float32 in N / 20 clusters."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(max(2, num_items // 20), num_features))
    noise = 0.5 * random.normal(size=(num_items, num_features))
    return (centers[random.integers(0, len(centers), num_items)] + noise).astype(np.float32)


def median_seconds(call: Callable[[], object], repetitions: int = 300) -> float:
    """Returns the median duration of a call after a warm-up."""
    for _ in range(20):
        call()
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def import_seconds() -> tuple[float, bool]:
    """Returns how long `import sid_jax` takes in a new process (median of 5), and whether it imports JAX."""
    script = (
        "import sys, time; began = time.perf_counter(); import sid_jax; "
        "print(time.perf_counter() - began, 'jax' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split() for _ in range(5)
    ]
    return statistics.median(float(seconds) for seconds, _ in runs), any(heavy == "True" for _, heavy in runs)


def load_seconds(folder: Path | str) -> tuple[float, float]:
    """Returns the median load time of an artifact in 3 new processes, in seconds, and the largest peak memory in GB."""
    command = [sys.executable, "-c", _LOAD.format(folder=str(folder))]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
    return statistics.median(float(seconds) for seconds, _ in runs), max(float(peak) for _, peak in runs)


def encode_figures(tokenizer: sid_jax.SemanticIdTokenizer) -> dict[str, str]:
    """Returns the number of compilations for 1,000 batches of 1 to 5,000 vectors, and the time to encode one vector."""
    features = tokenizer.model.mean.shape[0]
    random = np.random.default_rng(0)
    rows = random.normal(size=(5_000, features)).astype(np.float32)
    with count_compilations() as compiled:
        for size in random.integers(1, 5_001, 1_000).tolist():
            assert len(tokenizer.encode(rows[:size])) == size
    one = rows[:1]
    bare = jax.jit(lambda vectors: tokenizer.model.assign(vectors))
    of_bare = median_seconds(lambda: np.asarray(bare(one)))
    of_encode = median_seconds(lambda: tokenizer.encode(one))
    return {
        "programs compiled for 1,000 batches of 1 to 5,000 vectors": str(len(compiled)),
        "encode of 1 vector / the compiled function alone": f"{1e3 * of_encode:.3f} / {1e3 * of_bare:.3f} ms",
    }


def fit_figures() -> dict[str, str]:
    """Returns the number of compilations of a first and of a second fit with the same settings and shapes."""
    vectors, counts = made_vectors(2_000, 32), []
    for seed in (0, 1):
        with count_compilations() as compiled:
            sid_jax.SemanticIdTokenizer(codebook_size=64, num_epochs=2.0).fit(vectors + np.float32(seed), verbose=False)
        counts.append(len(compiled))
    return {"programs compiled by a fit / by the next fit of the same shape": f"{counts[0]} / {counts[1]}"}


def made_artifacts(folder: Path) -> tuple[Path, Path]:
    """Trains a tokenizer and a recommender briefly, and returns their folders."""
    vectors = made_vectors(_ITEMS.value, _FEATURES.value)
    tokenizer = sid_jax.SemanticIdTokenizer("ste,quick", num_epochs=1.0).fit(vectors, verbose=False)
    random = np.random.default_rng(0)
    histories = random.integers(0, _ITEMS.value, (max(1_000, _ITEMS.value // 10), 12)).tolist()
    recommender = sid_jax.GenerativeRecommender(tokenizer, num_epochs=0.02, validation_users=256)
    recommender.fit(histories, verbose=False)
    return tokenizer.save(folder / "export"), Path(recommender.save(folder / "recommender"))


def main(_: list[str]) -> None:
    """Measures the costs of the calls, and prints them."""
    seconds, heavy = import_seconds()
    figures = {"import sid_jax": f"{seconds:.3f} s, JAX {'imported' if heavy else 'not imported'}", **fit_figures()}
    with tempfile.TemporaryDirectory() as temporary:
        export, recommender = _EXPORT.value, _RECOMMENDER.value
        if export is None or recommender is None:
            made = made_artifacts(Path(temporary))
            export, recommender = export or made[0], recommender or made[1]
        figures |= encode_figures(sid_jax.load(export))
        for name, artifact in (("export", export), ("recommender", recommender)):
            seconds, peak = load_seconds(artifact)
            figures[f"sid_jax.load of the {name}, after import jax"] = f"{seconds:.2f} s, peak {peak:.2f} GB"
    for name, value in figures.items():
        print(f"{name:<62} {value}")


if __name__ == "__main__":
    app.run(main)
