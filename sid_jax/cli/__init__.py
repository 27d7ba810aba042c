"""The command `sid-jax`, with one module per subcommand.

Flags are global, and a module defines its flags when it is imported. Therefore only the module of the chosen subcommand
is imported.
"""

from __future__ import annotations

import importlib
import sys
import time

from sid_jax import signals

COMMANDS = {
    "train": "Train a quantizer on item vectors.",
    "export": "Write the Semantic IDs and codebooks of a run, or the next version of an export.",
    "evaluate": "Compute metrics of Semantic IDs, from an export or any other source.",
    "report": "Write the report of an export, one HTML page.",
    "recommend": "Train and test a recommender on Semantic IDs, or compare ID tables.",
    "tokens": "Write Semantic IDs as tokens for a language model.",
    "llm-data": "Write training data for a language model that reads and writes Semantic IDs.",
    "convert": "Write Semantic IDs, histories and items in the file formats of another tool.",
    "features": "Write Semantic IDs as row numbers of a ranker's embedding table.",
    "diff": "Compare the IDs of two exports.",
    "sweep": "Search for settings that give both distinct codes and a low reconstruction error.",
}


def main() -> None:
    """Runs the subcommand named by the first argument; lists the subcommands with --help or without arguments."""
    started = time.monotonic()
    signals.end_at_once()
    name, words = (sys.argv[1] if len(sys.argv) > 1 else "--help"), sys.argv[2:]
    if name in ("--help", "-h", "help"):
        print(_listing())
    elif name == "--version":
        from sid_jax import __version__

        print(__version__)
    elif name in COMMANDS:
        sys.argv = [f"sid-jax {name}", *words]
        subcommand = importlib.import_module(f"sid_jax.cli.{name.replace('-', '_')}")
        subcommand.run(started) if name == "train" else subcommand.run()
    else:
        sys.exit(f"error: there is no command {name!r}; the commands are {', '.join(COMMANDS)}")


def _listing() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "Semantic IDs for recommendation, in JAX: train an RQ-VAE on item vectors, export unique IDs.",
            "",
            "Usage: sid-jax COMMAND [FLAGS]",
            "",
            *lines,
            "",
            "sid-jax COMMAND --help shows the flags of a command. sid-jax --version prints the version.",
        ]
    )
