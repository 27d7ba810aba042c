from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sid_jax.data.text.template import clean, item_texts, join_fields, value_text


def test_fields_are_joined_with_their_names():
    fields = [("title", "Nail Lacquer"), ("brand", ""), ("categories", ["Makeup", "Nails"]), ("list_price", 3.0)]
    assert join_fields(fields) == "Title: Nail Lacquer; Categories: Makeup, Nails; List price: 3"
    assert join_fields([("title", None), ("categories", [])]) == ""


def test_one_column_is_its_own_text():
    assert item_texts(["text"], [["a", None, ["b", "c"]]]) == ["a", "", "b, c"]
    assert item_texts(["title", "year"], [["a", "b"], [1990, None]]) == ["Title: a; Year: 1990", "Title: b"]


def test_numbers_in_words():
    assert [value_text(value) for value in (3.17, 3.0, 7, 1e12, float("nan"))] == [
        "3.17",
        "3",
        "7",
        "1000000000000",
        "nan",
    ]


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=8))
def test_every_text_can_be_written_as_utf8(text: str):
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert cleaned == text
