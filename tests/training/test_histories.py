"""IDs depend on the interactions in histories, except on excluded interactions."""

import io

import numpy as np
import pytest
from rich.console import Console

from sid_jax.data import collaborative
from sid_jax.data.collaborative import truncated_svd
from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.training import quantizer
from sid_jax.training.restore import restore_run

NUM_ITEMS = 300


@pytest.fixture
def console():
    return Console(file=io.StringIO())


@pytest.fixture
def config(config, tmp_path):
    """A config with histories, in which each half of the users interacts with its own half of the items.

    The two halves of the items are unrelated to the vectors.
    """
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
    """The share of the pairs of items with the same first code in which both items are in the same group.

    The chance level is one half.
    """
    same = codes[:, None, 0] == codes[None, :, 0]
    np.fill_diagonal(same, False)
    group = np.arange(NUM_ITEMS) % 2
    return (group[:, None] == group[None, :])[same].mean()


def test_first_codes_follow_who_takes_what(config, tmp_path, console):
    config.train.num_epochs = 10
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    export(tmp_path / "run", tmp_path / "ids", messages=Messages.silent())
    assert separation(read_id_table(tmp_path / "ids").semantic_ids) > 0.8


def neighbors_in_group(vectors):
    """The share of items that are in the same group as their nearest neighbor; the chance level is one half."""
    distances = np.square(vectors[:, None] - vectors[None]).sum(-1)
    np.fill_diagonal(distances, np.inf)
    group = np.arange(NUM_ITEMS) % 2
    return (group == group[distances.argmin(axis=1)]).mean()


@pytest.mark.parametrize("name", ["contrastive_weight", "alignment_weight"])
def test_a_loss_has_codes_follow_what_content_only_hints_at(config, corpus, tmp_path, console, name):
    hint = 0.6 * (2 * (np.arange(NUM_ITEMS) % 2) - 1) + 0.1 * np.random.default_rng(1).normal(size=NUM_ITEMS)
    np.save(config.data.path, np.column_stack([corpus, hint.astype(np.float32)]))
    config.data.collaborative_weight = 0.0
    config.train.update({"num_epochs": 20, "learning_rate": 1e-2})
    found = {}
    for weight in (0.0, 1.0):
        workdir = tmp_path / f"{weight:g}"
        config.model[name] = weight
        if not weight:
            config.data.histories.source = "none"
        quantizer.train(config, workdir, messages=Messages.to_console(console))
        config.data.histories.source = "sequences"
        # Codes are computed from content alone: the loaded vectors are those of the file.
        run = restore_run(workdir)
        np.testing.assert_array_equal(run.data.vectors, np.load(config.data.path))
        found[weight] = neighbors_in_group(np.asarray(run.model.quantizer.lookup(run.model.assign(run.data.vectors))))
    assert found[0.0] < 0.7 and found[1.0] > 0.9, found


def test_other_histories_are_another_run_and_a_loss_without_histories_is_refused(config, tmp_path, console):
    config.data.collaborative_weight = 0.0
    config.model.contrastive_weight = 0.1
    config.train.num_epochs = 1
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    write(config, [own_items(user) for user in range(1, 601)])
    with pytest.raises(UserError, match="other data"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    config.model.encoder = "identity"
    with pytest.raises(UserError, match="without an encoder"):
        quantizer.train(config, tmp_path / "other", messages=Messages.to_console(console))
    config.model.encoder = "mlp"
    config.data.histories.source = "none"
    with pytest.raises(UserError, match="set config.data.histories.source"):
        quantizer.train(config, tmp_path / "other", messages=Messages.to_console(console))
    config.data.histories.source, config.model.contrastive_weight = "sequences", 0.0
    with pytest.raises(UserError, match="so histories have no effect"):
        quantizer.train(config, tmp_path / "other", messages=Messages.to_console(console))


def test_last_items_and_held_out_ones_are_not_looked_at(config, tmp_path):
    (tmp_path / "later.txt").write_text("3\n299\n")
    config.data.cold_items = str(tmp_path / "later.txt")
    before = load_vectors(config.data, with_partners=True, with_collaborative=True)
    assert before.trained().relations.partners.bounds.shape == (NUM_ITEMS - 2 + 1,)
    sequences = [own_items(user) for user in range(600)]
    for user, items in enumerate(sequences):
        items[-2:] = [user % 7, user % 11]
        items[:0] = [3, 299] * (user % 2)
    write(config, sequences)
    now = load_vectors(config.data, with_partners=True, with_collaborative=True)
    assert now.fingerprint() == before.fingerprint()
    write(config, [items[::-1] for items in sequences])
    now = load_vectors(config.data, with_partners=True, with_collaborative=True)
    assert now.fingerprint() != before.fingerprint()


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_data_is_the_same_where_another_machine_rounds_otherwise(config, monkeypatch, weight):
    """On another machine, the last bits of a truncated SVD may differ, but the fingerprint of the data must not."""
    config.data.collaborative_weight = weight
    here = load_vectors(config.data, with_collaborative=True)
    monkeypatch.setattr(collaborative, "truncated_svd", lambda *args: truncated_svd(*args) * np.float32([1, 1.00001]))
    there = load_vectors(config.data, with_collaborative=True)
    assert (there.relations.collaborative != here.relations.collaborative).any()
    assert there.fingerprint() == here.fingerprint()
    config.data.collaborative_weight = 0.25
    assert load_vectors(config.data, with_collaborative=True).fingerprint() != here.fingerprint()


def test_no_file_is_refused_in_one_line(config):
    config.data.histories.path = ""
    with pytest.raises(UserError, match="--config.data.histories.path=FILE"):
        load_vectors(config.data)
