"""Runs the commands as a user types them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent

# XLA flags for programs whose compilation takes longer than their execution. Without fusion emitters, XLA compiles
# three times as fast.
COMPILE_QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


def environment(num_devices: int = 1, compiled: bool = True, flags: str = COMPILE_QUICKLY) -> dict[str, str]:
    """Returns a command's environment variables: number of devices, XLA flags, use of the compilation cache."""
    xla_flags = f"--xla_force_host_platform_device_count={num_devices} {flags}".strip()
    return {**os.environ, "XLA_FLAGS": xla_flags, "JAX_ENABLE_COMPILATION_CACHE": str(compiled)}


def start(
    *words: str | Path, num_devices: int = 1, compiled: bool = True, flags: str = COMPILE_QUICKLY, **kwargs
) -> subprocess.Popen[str]:
    """Starts `python WORDS` in the project's folder, with the XLA flags `flags`."""
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment(num_devices, compiled, flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def run(*words: str | Path, **kwargs) -> subprocess.CompletedProcess[str]:
    """Runs `python WORDS` in the project's folder and returns the completed process."""
    return finish(start(*words, **kwargs))


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Waits for a started command and returns the completed process."""
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def start_together(num_processes: int, *words: str | Path, of_last: Sequence[str] = ()) -> list[subprocess.Popen[str]]:
    """Starts `python WORDS` in several processes of one run; the last process also gets the arguments `of_last`."""
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    company = [f"--coordinator_address=localhost:{port}", f"--num_processes={num_processes}"]
    more = [()] * (num_processes - 1) + [of_last]
    return [start(*words, *company, f"--process_id={number}", *more[number]) for number in range(num_processes)]


def run_together(num_processes: int, *words: str | Path, **kwargs) -> list[subprocess.CompletedProcess[str]]:
    """Runs `python WORDS` in several processes of one training run, and returns the completed processes."""
    return list(map(finish, start_together(num_processes, *words, **kwargs)))


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """Returns the error message, after checking that it is one line and that the status is not 0."""
    lines = result.stderr.strip().splitlines()
    assert result.returncode != 0, result.stdout
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]
