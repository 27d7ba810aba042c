from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.errors import UserError
from sid_jax.tokens.vocabulary import Vocabulary

IDS = np.array([[0, 3], [1, 255]], np.uint8)


def test_a_token_is_its_levels_offset_plus_its_code():
    vocabulary = Vocabulary((2, 256), first_id=1000)
    assert (len(vocabulary), vocabulary.offsets) == (258, (1000, 1002))
    assert vocabulary.token_ids(IDS).tolist() == [[1000, 1005], [1001, 1257]]
    assert vocabulary.semantic_ids(vocabulary.token_ids(IDS)).tolist() == IDS.tolist()
    assert vocabulary.semantic_ids([[999, 1258], [1002, 1001]]).tolist() == [[-1, -1], [-1, -1]]


def test_texts_are_never_cut_short():
    assert Vocabulary((2, 256)).texts(IDS).to_pylist() == ["<a_0><b_3>", "<a_1><b_255>"]
    assert Vocabulary((2, 256), 0, "[sid{level}:{code}]").texts(IDS).to_pylist() == [
        "[sid1:0][sid2:3]",
        "[sid1:1][sid2:255]",
    ]


def test_levels_past_z_have_two_letters():
    levels = Vocabulary((1,) * 28).levels
    assert [levels[number][0] for number in (0, 25, 26, 27)] == ["<a_0>", "<z_0>", "<aa_0>", "<ab_0>"]


def test_entries_are_those_of_a_tokenizers_file():
    entries = Vocabulary((1, 1), 7).added_tokens()
    assert entries[1] == {
        "id": 8,
        "content": "<b_0>",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }


def test_ids_are_found_in_an_answer():
    vocabulary = Vocabulary((2, 256))
    answer = "You may like <a_1><b_255>, or <a_0> alone, <a_9><b_1> never, <b_2><a_0><b_3><b_4>."
    assert vocabulary.parse(answer) == [(1, 255), (0, 3)]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4), st.integers(0, 2**20), st.data())
def test_round_trip_of_any_id(sizes, first_id, data):
    vocabulary = Vocabulary(tuple(sizes), first_id)
    row = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    semantic_ids = np.array(rows, np.int32)
    assert vocabulary.semantic_ids(vocabulary.token_ids(semantic_ids)).tolist() == semantic_ids.tolist()
    assert vocabulary.parse("".join(vocabulary.texts(semantic_ids).to_pylist())) == rows
    entries = {entry["id"]: entry["content"] for entry in vocabulary.added_tokens()}
    assert len(set(entries.values())) == len(entries) == sum(sizes)
    for text, numbers in zip(
        vocabulary.texts(semantic_ids).to_pylist(), vocabulary.token_ids(semantic_ids).tolist(), strict=True
    ):
        assert "".join(entries[number] for number in numbers) == text


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{letter}{code}", "begins with 'a' and ends with '0'"),
        ("<{letter}_{code}", "ends with '0'"),
        ("|{letter}_{code}|", "occur nowhere else"),
        ("<<{letter}_{code}>", "occur nowhere else"),
        ("<{code}>", "{letter} or {level}"),
        ("<{letter}>", "must have {code} once"),
        ("<{letter}_{code}_{code}>", "must have {code} once"),
        ("<{item}_{code}>", "has an unknown field"),
        ("<{letter}_{code:03}>", "has an unknown field"),
        ("<{letter}_{}>", "has an unknown field"),
        ("<{letter_{code}>", "an unmatched brace|has an unknown field"),
        ("<{letter} {code}>", "a space"),
        ("", "must have {code}"),
    ],
)
def test_a_pattern_that_could_split_differently_is_refused(pattern, words):
    with pytest.raises(UserError, match=words) as caught:
        Vocabulary((2, 256), 0, pattern)
    assert "\n" not in str(caught.value) and "write, for example" in str(caught.value)


def test_one_level_needs_no_letter_and_numbers_must_fit():
    assert Vocabulary((2,), 0, "<{code}>").levels == (["<0>", "<1>"],)
    with pytest.raises(UserError, match="31 bits"):
        Vocabulary((2,), 2**31 - 2)
