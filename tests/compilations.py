"""Counts the programs that JAX compiles."""

import contextlib
from collections.abc import Iterator

from jax import monitoring


class Compilations:
    """The number of programs that were compiled since the context was entered."""

    def __init__(self):
        self.count = 0

    def _on_event(self, name: str, _: float, **__: object) -> None:
        self.count += name == "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def counting_compilations() -> Iterator[Compilations]:
    compilations = Compilations()
    monitoring.register_event_duration_secs_listener(compilations._on_event)
    try:
        yield compilations
    finally:
        monitoring.unregister_event_duration_listener(compilations._on_event)
