"""Times several implementations in alternating rounds. Each one has its own process, and the processes take turns."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from sid_jax.whole_file import write_json

# Runs one timed round of an implementation; returns the number of processed items.
Round = Callable[[], int]


class Contestant(NamedTuple):
    """An implementation: a function that prepares and returns a round, and the arguments of this function.

    The function must be defined at the top level of a module, since it is pickled for the new process.
    """

    prepare: Callable[..., Round]
    arguments: Sequence[Any] = ()
    # Floating-point operations per item, for comparison with the machine's rate; 0 if unknown.
    operations: float = 0.0


class Result(NamedTuple):
    """Result of an implementation: medians over rounds, and the peak memory of its process."""

    items_per_second: float
    gigaflops: float
    peak_bytes: int
    rounds: list[float]


def contest(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Result]:
    """Prepares and warms up all implementations, and then times them in turn, `rounds` times."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, contestant in contestants.items():
        pipes[name], far_end = context.Pipe()
        process = context.Process(target=_work, args=(far_end, contestant), daemon=True)
        process.start()
        far_end.close()
        processes.append(process)
        # Wait for the warm-up, so that it does not overlap with a timed round.
        _expect(pipes[name], name)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, pipe in pipes.items():
            pipe.send("round")
            rates[name].append(_expect(pipe, name))
    results = {}
    for name, contestant in contestants.items():
        pipes[name].send("end")
        median = statistics.median(rates[name])
        peak = _expect(pipes[name], name)
        results[name] = Result(median, median * contestant.operations / 1e9, peak, rates[name])
    for process in processes:
        process.join()
    return results


def report(
    title: str, results: Mapping[str, Result], matmul: Result | None, out: Path | None, about: Mapping[str, Any]
) -> None:
    """Prints a row per implementation, with its rate relative to the first row and to `matmul`.

    If `out` is given, the results and the settings in `about` are written to it as JSON.
    """
    first = next(iter(results.values()))
    columns = ["", "items/s", "relative to the first", "GFLOP/s", "share of the matrix product's rate", "peak memory"]
    table = Table(*columns, title=title, title_justify="left")
    for name, result in results.items():
        share = f"{result.gigaflops / matmul.gigaflops:.0%}" if matmul and result.gigaflops else ""
        table.add_row(
            name,
            f"{result.items_per_second:,.0f}",
            f"{result.items_per_second / first.items_per_second:.2f}",
            f"{result.gigaflops:,.0f}" if result.gigaflops else "",
            share,
            f"{result.peak_bytes / 2**20:,.0f} MiB",
        )
    Console().print(table)
    if matmul:
        print(f"float32 matrix product on this machine: {matmul.gigaflops:,.0f} GFLOP/s")
    if out:
        rows = {name: result._asdict() for name, result in results.items()}
        about = {name: value for name, value in about.items() if not isinstance(value, Path)}
        write_json(out, {"about": about, "results": rows, "matmul": matmul and matmul._asdict()})


def _expect(pipe: Connection, name: str) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise SystemExit(f"{name} has failed; its error is above") from None


def _work(pipe: Connection, contestant: Contestant) -> None:
    run = contestant.prepare(*contestant.arguments)
    run()
    pipe.send("ready")
    while pipe.recv() == "round":
        began = time.perf_counter()
        items = run()
        pipe.send(items / (time.perf_counter() - began))
    # On Linux ru_maxrss is in KiB.
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def matmul_rate(rows: int, inner: int, columns: int, kind: str = "float32") -> Contestant:
    """Returns an implementation that multiplies `[rows, inner]` by `[inner, columns]` with XLA; an item is a row."""
    return Contestant(_prepare_matmul, (rows, inner, columns, kind), operations=2.0 * inner * columns)


def _prepare_matmul(rows: int, inner: int, columns: int, kind: str) -> Round:
    import jax
    import jax.numpy as jnp

    left = jax.random.normal(jax.random.key(0), (rows, inner)).astype(kind)
    right = jax.random.normal(jax.random.key(1), (inner, columns)).astype(kind)
    times = max(1, int(5e10 / (2 * rows * inner * columns)))

    @jax.jit
    def multiply(left: jax.Array, right: jax.Array) -> jax.Array:
        def once(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            left, total = carry
            product = jnp.matmul(left, right, preferred_element_type=jnp.float32)
            # The barrier makes each product depend on the one before, so that XLA computes all of them.
            return jax.lax.optimization_barrier((left, jnp.maximum(total, product)))

        start = jnp.zeros((rows, columns), jnp.float32)
        return jax.lax.fori_loop(0, times, once, (left, start))[1]

    def run() -> int:
        multiply(left, right).block_until_ready()
        return rows * times

    return run
