"""IDs that follow histories: what is held out of them leaves no trace, and what is in them shows."""

import io

import numpy as np
import pytest
from rich.console import Console

from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.run import export
from sid_jax.training import loop

NUM_ITEMS = 300


@pytest.fixture
def console():
    return Console(file=io.StringIO())


@pytest.fixture
def config(config, tmp_path):
    """Half of the items are taken by one half of the users, the others by the others; content knows nothing of it."""
    config.data.histories.source = "sequences"
    config.data.histories.path = str(tmp_path / "sequences.txt")
    config.data.collaborative_dimension = 2
    config.data.collaborative_weight = 1.0
    write(config, [own_items(user) for user in range(600)])
    return config


def own_items(user):
    rng = np.random.default_rng(user)
    return (2 * rng.choice(NUM_ITEMS // 2, 12, replace=False) + user % 2).tolist()


def write(config, sequences):
    lines = [" ".join(map(str, [f"u{user}", *items])) for user, items in enumerate(sequences)]
    with open(config.data.histories.path, "w") as file:  # noqa: PTH123
        file.write("\n".join(lines))


def separation(codes):
    """How often two items with one first code are of one group, where a half is chance."""
    same = codes[:, None, 0] == codes[None, :, 0]
    np.fill_diagonal(same, False)
    group = np.arange(NUM_ITEMS) % 2
    return (group[:, None] == group[None, :])[same].mean()


def test_first_codes_follow_who_takes_what(config, tmp_path, console):
    config.train.num_epochs = 10
    loop.train(config, tmp_path / "run", console=console)
    export(tmp_path / "run", tmp_path / "ids", console=console)
    assert separation(read_id_table(tmp_path / "ids").semantic_ids) > 0.8


def test_last_items_and_held_out_ones_are_not_looked_at(config, tmp_path):
    (tmp_path / "later.txt").write_text("3\n299\n")
    config.data.held_out_path = str(tmp_path / "later.txt")
    before = load_vectors(config.data)
    sequences = [own_items(user) for user in range(600)]
    for user, items in enumerate(sequences):
        items[-2:] = [user % 7, user % 11]
        items[:0] = [3, 299] * (user % 2)
    write(config, sequences)
    assert load_vectors(config.data).fingerprint() == before.fingerprint()
    write(config, [items[::-1] for items in sequences])
    assert load_vectors(config.data).fingerprint() != before.fingerprint()


def test_no_file_is_refused_in_one_line(config):
    config.data.histories.path = ""
    with pytest.raises(UserError, match="--config.data.histories.path=FILE"):
        load_vectors(config.data)
