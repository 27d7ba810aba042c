"""SentencePiece on codes: the pieces of an ID concatenate to the ID, and a frequent ID is a single piece."""

import builtins

import numpy as np
import pytest
import sentencepiece

from sid_jax.errors import UserError
from sid_jax.features.pieces import fit_pieces, load_pieces

SIZES = (6, 5, 4)


def made_ids(number=300, seed=0):
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, size, number) for size in SIZES], axis=1).astype(np.int32)


def spelled(features, semantic_ids):
    """Returns the IDs, reconstructed from the pieces of each item, and the rows of these pieces."""
    found, codes = features.rows_of(np.arange(len(semantic_ids)), semantic_ids), features.codes()
    return [codes[found.of(item)].max(axis=0).tolist() for item in range(len(found))], found


@pytest.mark.parametrize("num_rows", [16, 40, 400])
def test_the_pieces_of_an_item_are_its_codes_and_no_more_than_there_are_rows_for(num_rows):
    semantic_ids = made_ids()
    features = fit_pieces(semantic_ids, np.ones(300, np.int64), num_rows)
    together, found = spelled(features, semantic_ids)
    assert together == semantic_ids.tolist()
    assert len(features.codes()) <= num_rows and found.rows.max() < num_rows and found.rows.min() > 0
    # Each level is in exactly one piece.
    codes = features.codes()
    for item in range(len(found)):
        assert ((codes[found.of(item)] >= 0).sum(axis=0) == 1).all()


def test_more_rows_make_longer_pieces():
    semantic_ids = made_ids()
    lengths = [
        fit_pieces(semantic_ids, np.ones(300, np.int64), rows).rows_of(np.arange(300), semantic_ids).lengths.mean()
        for rows in (16, 40, 400)
    ]
    assert lengths[0] == 3 > lengths[1] > lengths[2] == 1


def test_what_is_seen_often_is_one_piece():
    semantic_ids = np.array([[a, b, c] for a in range(6) for b in range(5) for c in range(4)], np.int32)
    # Each ID occurs once, so the IDs differ in frequency only by their impressions.
    for popular in (17, 83):
        impressions = np.ones(len(semantic_ids), np.int64)
        impressions[popular] = 1000
        features = fit_pieces(semantic_ids, impressions, 18)
        found = features.rows_of(np.arange(len(semantic_ids)), semantic_ids)
        assert found.lengths[popular] == 1 and (np.delete(found.lengths, popular) > 1).all()


def test_items_share_the_row_of_what_they_have_in_common():
    semantic_ids = np.array([[1, 2, 0], [1, 2, 1], [1, 2, 2], [0, 0, 0]], np.int32)
    features = fit_pieces(semantic_ids, np.array([9, 9, 9, 1]), 9)
    found = features.rows_of(np.arange(4), semantic_ids)
    assert found.of(0)[0] == found.of(1)[0] == found.of(2)[0]
    assert features.codes()[found.of(0)[0]].tolist() == [1, 2, -1]


def test_no_piece_reaches_over_a_cut():
    semantic_ids = made_ids()
    features = fit_pieces(semantic_ids, np.ones(300, np.int64), 400)
    assert (features.rows_of(np.arange(300), semantic_ids).lengths == 1).all()
    cuts = np.random.default_rng(0).random((300, 2)) < 0.5
    found = features.rows_of(np.arange(300), semantic_ids, cuts)
    codes = features.codes()
    assert [codes[found.of(item)].max(axis=0).tolist() for item in range(300)] == semantic_ids.tolist()
    for item, (first, second) in enumerate(cuts):
        levels = codes[found.of(item)] >= 0
        assert not (first and (levels[:, 0] & levels[:, 1]).any())
        assert not (second and (levels[:, 1] & levels[:, 2]).any())
        assert found.lengths[item] >= 1 + first + second


def test_unseen_items_change_nothing_and_unseen_codes_are_row_0():
    semantic_ids = made_ids()
    impressions = np.ones(300, np.int64)
    impressions[250:] = 0
    one = fit_pieces(semantic_ids, impressions, 40)
    semantic_ids[250:] = [9, 9, 9]
    other = fit_pieces(semantic_ids, impressions, 40)
    assert one.model == other.model
    strange = np.array([[5, 4, 9], [99, 0, 0]], np.int32)
    rows = one.rows_of(np.arange(2), strange)
    assert rows.of(0)[-1] == 0 and rows.of(1)[0] == 0
    assert one.codes()[rows.of(0)].max(axis=0).tolist() == [5, 4, -1]


def test_what_is_written_is_read_again_by_us_and_by_the_library(tmp_path):
    semantic_ids = made_ids()
    features = fit_pieces(semantic_ids, np.ones(300, np.int64), 40)
    features.save(tmp_path)
    again = load_pieces(tmp_path)
    found = features.rows_of(np.arange(300), semantic_ids)
    np.testing.assert_array_equal(again.rows_of(np.arange(300), semantic_ids).rows, found.rows)
    library = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "pieces.model"))
    assert library.get_piece_size() == len(features.codes())
    (tmp_path / "pieces.model").write_bytes(b"something else")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        load_pieces(tmp_path)


def test_thousands_of_codes_have_characters_of_their_own():
    semantic_ids = np.array([[0, 65_000], [65_535, 0], [65_530, 60_000], [1, 1]], np.int32)
    features = fit_pieces(semantic_ids, np.ones(4, np.int64), 20)
    assert spelled(features, semantic_ids)[0] == semantic_ids.tolist()


@pytest.mark.parametrize(
    ("impressions", "num_rows", "words"),
    [(1, 15, "set --rows to at least 16"), (0, 40, "no item has an impression")],
)
def test_what_cannot_be_trained_on_is_refused(impressions, num_rows, words):
    with pytest.raises(UserError, match=words):
        fit_pieces(made_ids(), np.full(300, impressions), num_rows)


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "sentencepiece":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'sid_jax\[features\]'"):
        fit_pieces(made_ids(), np.ones(300, np.int64), 40)


def test_ids_of_another_length_are_refused():
    features = fit_pieces(made_ids(), np.ones(300, np.int64), 40)
    with pytest.raises(UserError, match="of 3 codes, but these IDs have 2"):
        features.rows_of(np.arange(1), np.zeros((1, 2), np.int32))
