"""A strict session: several devices, no silent rank promotion, and deprecations that do not pass unseen."""

import os

# Before jax is imported: eight devices on one CPU, as on a TPU host.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import pytest

# A first call compiles, which no deadline a call allows for.
hypothesis.settings.register_profile("sid_jax", deadline=None)
hypothesis.settings.load_profile("sid_jax")


@pytest.fixture(autouse=True, scope="session")
def _strict_jax():
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key():
    return jax.random.key(0)
