"""A small export for each scheme (a value of --unique), made without training, and its tokens."""

import functools

import numpy as np
import pytest
from flax import nnx

from sid_jax.config import default_config
from sid_jax.export.artifact import Export, write_export
from sid_jax.ids.table import IdTable
from sid_jax.ids.unique import append_suffix
from sid_jax.messages import Messages
from sid_jax.models.rqvae import RQVAE
from sid_jax.tokens.write import write_tokens

SIZES, FEATURES, NUM_ITEMS = (8, 4, 16), 12, 300
# The token id of the first ID token. The text tokenizers in tests/tokens/test_tokenizers.py have the ids 0 to 299.
FIRST_ID = 300


@functools.cache
def small_model():
    return RQVAE(FEATURES, SIZES, latent_dimension=6, hidden_dimensions=(24,), rngs=nnx.Rngs(0))


def made_ids(scheme):
    """Returns code tuples and Semantic IDs; unless the scheme is "relocate", some items have equal code tuples."""
    random = np.random.default_rng(0)
    places = random.choice(np.prod(SIZES), NUM_ITEMS, replace=scheme != "relocate")
    codes = np.stack(np.unravel_index(places, SIZES), axis=1).astype(np.int32)
    return codes, append_suffix(codes, np.arange(NUM_ITEMS)) if scheme == "suffix" else codes


def make_export(folder, scheme):
    codes, semantic_ids = made_ids(scheme)
    sizes = [*SIZES, int(semantic_ids[:, -1].max()) + 1] if scheme == "suffix" else list(SIZES)
    words = ["Star", "Wars", "Toy", "Story", "The", "Return", "of", "Night"]
    random = np.random.default_rng(1)
    titles = np.array([" ".join(random.choice(words, 3)) for _ in codes], dtype=object)
    shared, columns = scheme == "none", {"title": titles}
    table = IdTable(np.arange(NUM_ITEMS), semantic_ids, codes=codes, sizes=sizes, columns=columns, shared=shared)
    made = {"scheme": scheme, "capacity": 1, "length": len(sizes), "sizes": sizes}
    schema = {"id_column": "item_id", "columns": ["title"]}
    manifest = {"config": default_config().to_dict(), "semantic_ids": made, "schema": schema}
    write_export(Export(manifest, table, small_model()), folder)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with an export of each scheme in exports/SCHEME, and its tokens in tokens/SCHEME."""
    folder = tmp_path_factory.mktemp("made")
    for scheme in ("relocate", "suffix", "none"):
        make_export(folder / "exports" / scheme, scheme)
        out = folder / "tokens" / scheme
        write_tokens(folder / "exports" / scheme, out, first_id=FIRST_ID, messages=Messages.silent())
    return folder
