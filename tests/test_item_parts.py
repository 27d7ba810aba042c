"""Items with several parts: scaling, masking, filling in, metrics, and items that lack a part."""

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flax import nnx

import sid_jax
from sid_jax.config import default_config
from sid_jax.data.inputs import vector_set
from sid_jax.data.layout import ItemPart, Layout
from sid_jax.data.load import load_vectors
from sid_jax.data.part_sources import labels_of
from sid_jax.data.scaling import apply_scaling, fit_filler, fit_scaling
from sid_jax.errors import UserError
from sid_jax.models.rqvae import RQVAE, _seen_parts
from sid_jax.quantize.losses import reconstruction_loss

N = 400
GENRES = [["drama"], ["comedy", "crime"], ["crime"], []]


@pytest.fixture(scope="module")
def parts():
    """The parts of items: texts (vectors near 20 centers), images (which depend on the texts), genres and prices.

    Some items have no genres, and some have no price.
    """
    random = np.random.default_rng(0)
    kind = random.integers(0, 20, N)
    text = random.normal(size=(20, 16))[kind] + 0.3 * random.normal(size=(N, 16))
    image = text @ random.normal(size=(16, 8)) / 4 + 0.3 * random.normal(size=(N, 8))
    return {
        "text": text.astype(np.float32),
        "image": image.astype(np.float32),
        "genres": [GENRES[each % 4] for each in kind],
        "price": [None if row % 7 == 0 else float(row) for row in range(N)],
    }


@pytest.fixture(scope="module")
def lacking(parts):
    text, image = parts["text"].copy(), parts["image"].copy()
    image[:60] = text[60:120] = np.nan
    return {**parts, "text": text, "image": image}


@pytest.fixture(scope="module")
def tokenizer(lacking):
    settings = {"num_levels": 3, "codebook_size": 16, "latent_dimension": 8, "hidden_dimensions": (32,)}
    training = {"batch_size": 64, "num_epochs": 20, "train.eval_every_epochs": 20.0, "log_every_steps": 20}
    return sid_jax.SemanticIdTokenizer(**settings, **training).fit(
        lacking, [f"sku-{row}" for row in range(N)], weights={"image": 0.5, "genres": 0.2, "price": 0.05}, verbose=False
    )


def test_an_item_that_lacks_a_part_has_its_complete_twins_first_code(tokenizer, parts):
    complete = tokenizer.encode(parts)
    for without in ("image", "text", "genres", "price"):
        some = {name: part for name, part in parts.items() if name != without}
        assert (tokenizer.encode(some)[:, 0] == complete[:, 0]).mean() >= 0.8, without
    assert (tokenizer.encode({"text": parts["text"]})[:, 0] == complete[:, 0]).mean() >= 0.8


def test_r2_is_that_of_each_part_over_the_items_that_have_it(tokenizer, lacking):
    """R^2 of the text part is computed by hand, from vectors of length 1, over the 340 items that have a text."""
    figures, model = tokenizer.metrics, tokenizer.model
    decoded = tokenizer.decode(tokenizer.encode(lacking))[:, :16]
    there = np.isfinite(lacking["text"][:, 0])
    text = lacking["text"][there] / np.linalg.norm(lacking["text"][there], axis=1, keepdims=True)
    expected = 1 - np.square(text - decoded[there]).sum() / np.square(text - text.mean(axis=0)).sum()
    assert figures["r2_by_part"]["text"] == pytest.approx(expected, abs=1e-4)
    assert list(figures["r2_by_part"]) == ["text", "image", "genres", "price"]
    # If all items had all parts, R^2 would be the weighted mean of the parts' R^2. Some items lack parts, so R^2 is
    # only near this mean.
    weights = [part.weight for part in model.layout.parts]
    assert figures["r2"] == pytest.approx(np.average(list(figures["r2_by_part"].values()), weights=weights), abs=0.05)
    measured = tokenizer.evaluate(lacking)
    assert measured["r2_by_part"].keys() == figures["r2_by_part"].keys()
    assert np.isfinite(measured["explained_by_prefix"]).all()


def test_what_is_saved_takes_any_parts_and_appended_items_may_lack_some(tokenizer, parts, tmp_path):
    loaded = sid_jax.load(tokenizer.save(tmp_path / "export"), verify=True)
    for given in (parts, {"text": parts["text"]}, {"genres": [["crime"], ["unheard of"]], "image": parts["image"][:2]}):
        np.testing.assert_array_equal(loaded.encode(given), tokenizer.encode(given))
    loaded.append(["new-1", "new-2"], {"text": parts["text"][:2]})
    np.testing.assert_array_equal(loaded.table.codes[-2:], tokenizer.encode({"text": parts["text"][:2]}))
    again = sid_jax.load(loaded.save(tmp_path / "next"))
    np.testing.assert_array_equal(again.encode({"image": parts["image"]}), tokenizer.encode({"image": parts["image"]}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"audio": np.ones((3, 2))}, "no part 'audio'; the parts are text, image, genres, price"),
        ({"text": np.ones((3, 5))}, r"part 'text' has shape \[3, 5\]; it must be \[3, 16\]"),
        ({"text": np.ones((3, 16)), "image": np.ones((2, 8))}, "give each part one row per item"),
        ({"text": np.full((3, 16), np.nan)}, "none of the parts text, image"),
        ({"genres": [1.5, 2.0]}, "trained with values of the kind 'categories', but values of the kind 'number'"),
    ],
)
def test_parts_that_cannot_be_encoded(tokenizer, given, message):
    with pytest.raises(UserError, match=message):
        tokenizer.encode(given)


def test_a_part_that_is_nan_in_part_is_refused(lacking):
    image = lacking["image"].copy()
    image[70, 3] = np.nan
    with pytest.raises(UserError, match="row 70 .* has nan as float32 in column"):
        vector_set({"text": lacking["text"], "image": image}, settings=default_config().data)


def test_parts_are_joined_by_id_and_what_says_nothing_is_missing():
    text = {"a": [1.0, 0.0], "b": [0.0, 2.0], "c": [0.0, 0.0]}
    image = (np.array([[3.0], [4.0]], np.float32), ["c", "d"])
    data = vector_set({"text": text, "image": image}, weights={"image": 2}, settings=default_config().data)
    assert data.ids.tolist() == ["a", "b", "c", "d"]
    nan = np.nan
    # The text vector of c is 0 and has no direction, so it counts as missing.
    np.testing.assert_array_equal(data.vectors, [[1, 0, nan], [0, 2, nan], [nan, nan, 3], [nan, nan, 4]])
    assert [(part.name, part.weight) for part in data.layout.parts] == [("text", 1.0), ("image", 2.0)]
    assert (
        data.fingerprint() != vector_set({"text": text, "image": image}, settings=default_config().data).fingerprint()
    )
    with pytest.raises(UserError, match="weights: there is no part 'picture'"):
        vector_set({"text": text}, weights={"picture": 1.0}, settings=default_config().data)


def test_the_setting_reads_files_by_id_and_weighs_labels(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    ids = ["w", "x", "y", "z"]
    columns = {"item_id": ids, "vector": vectors.tolist(), "genres": ["a|b", "a", "a", None], "price": [1, 3, None, 2]}
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    np.save(tmp_path / "image.npy", vectors[:2, :2])
    (tmp_path / "image.txt").write_text("z\nw\n")
    config = default_config()
    config.data.path = str(tmp_path / "items.parquet")
    config.data.parts = (
        f"image={tmp_path}/image.npy@{tmp_path}/image.txt*0.5,genres=categories:genres,price=number:price"
    )
    data = load_vectors(config.data)
    assert data.layout.names == ("vectors", "image", "genres", "price")
    np.testing.assert_array_equal(data.vectors[[3, 0], 3:5], vectors[:2, :2])
    assert np.isnan(data.vectors[1:3, 3:5]).all()
    # Column 5 is the label "a". A label that only one item has, such as "b", is not a feature. All three items with
    # labels have "a", so its weight is sqrt(log(1 + 3 / 3)).
    weight = np.sqrt(np.log(2))
    np.testing.assert_allclose(data.vectors[:, 5], [weight, weight, weight, np.nan], rtol=1e-6)
    np.testing.assert_allclose(data.vectors[:, 6], [0, 1, np.nan, 0.5], atol=1e-6)
    for wrong, words in (
        ("image", "write NAME=SOURCE"),
        ("image=a.npy*x*0", "the weight of 'image' must be a number above 0"),
        ("vectors=a.npy", "'vectors' is reserved for the vectors of config.data.source"),
        ("image=none.npy", "none.npy"),
        ("price=number:price,price=number:price", "two parts have the name 'price'"),
        ("behavior=number:price", "'behavior' is reserved for the vectors from config.data.histories"),
    ):
        config.data.parts = wrong
        with pytest.raises(UserError, match=words):
            load_vectors(config.data)


def loaded(read, settings):
    """Reads the items of the settings as the commands do, or as `fit` does if it gets a path."""
    if read == "setting":
        return load_vectors(settings)
    return vector_set(settings.path, settings=settings, bad_rows_option="--config.data.on_bad_rows=drop")


@pytest.mark.parametrize("read", ["setting", "path"])
@pytest.mark.parametrize("with_ids", [False, True])
def test_bad_rows_are_dropped_and_the_parts_of_the_other_items_stay_theirs(read, with_ids, tmp_path):
    """Item 1 has only an image, and is kept. The vector of item 3 is infinite, and item 4 has no part."""
    vectors, image = np.arange(1, 13, dtype=np.float32).reshape(2, 6, 1)
    vectors[[1, 4]], vectors[3], image[4] = np.nan, np.inf, np.nan
    np.save(tmp_path / "vectors.npy", vectors)
    order = np.array([5, 3, 1, 0, 2, 4]) if with_ids else np.arange(6)
    np.save(tmp_path / "image.npy", image[order])
    (tmp_path / "image.txt").write_text("\n".join(map(str, order.tolist())))
    config = default_config()
    config.data.path = str(tmp_path / "vectors.npy")
    config.data.parts = f"image=raw:{tmp_path}/image.npy" + (f"@{tmp_path}/image.txt" if with_ids else "")
    with pytest.raises(UserError, match=r"row 3 \(counted from 0, id 3\) has no vector of 1 .*; 1 of 6 rows"):
        loaded(read, config.data)
    config.data.on_bad_rows = "drop"
    data = loaded(read, config.data)
    assert data.ids.tolist() == [0, 1, 2, 5]
    np.testing.assert_array_equal(data.vectors, np.hstack([vectors, image])[data.ids])
    assert (data.left_out.rows, data.left_out.out_of) == ((3, 4), 6)
    assert "row 3 (id 3)" in str(data.left_out) and "row 4 (id 4)" in str(data.left_out)


@pytest.mark.parametrize("read", ["setting", "path"])
@pytest.mark.parametrize("with_ids", [False, True])
def test_an_item_whose_row_of_a_part_is_dropped_lacks_the_part(read, with_ids, tmp_path, caplog, capsys):
    """One of the two features of item 3's image is NaN. Later in the test, the vector of item 1 is infinite."""
    vectors, image = np.arange(1, 6, dtype=np.float32)[:, None], np.arange(1, 11, dtype=np.float32).reshape(5, 2)
    image[3, 1] = np.nan
    order = np.array([4, 3, 1, 0, 2]) if with_ids else np.arange(5)
    row = order.tolist().index(3)
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "image.npy", image[order])
    np.save(tmp_path / "ids.npy", order)
    config = default_config()
    config.data.path = str(tmp_path / "vectors.npy")
    config.data.parts = f"image=raw:{tmp_path}/image.npy" + (f"@{tmp_path}/ids.npy" if with_ids else "")

    with pytest.raises(UserError, match=rf"image.npy: row {row} .* id 3\) has nan .*\(--config.data.on_bad_rows=drop"):
        loaded(read, config.data)
    config.data.on_bad_rows = "report"
    with pytest.raises(UserError, match=r"1 of 5 rows .* \(listed on standard output\)"):
        loaded(read, config.data)
    assert f"image.npy,{row},3,1,1,nan" in capsys.readouterr().out

    vectors[1], config.data.on_bad_rows = np.inf, "drop"
    np.save(tmp_path / "vectors.npy", vectors)
    data = loaded(read, config.data)
    image[3] = np.nan
    assert data.ids.tolist() == [0, 2, 3, 4] and data.left_out.rows == (1,)
    np.testing.assert_array_equal(data.vectors, np.hstack([vectors, image])[data.ids])
    assert "the items of bad rows lack the part 'image': 1 of 5 rows hold NaN or infinite values" in caplog.text
    assert f"image.npy row {row} (id 3)" in caplog.text


def test_a_bad_row_in_a_file_that_is_given_as_a_part_is_dropped_by_the_setting(tmp_path, caplog):
    np.save(tmp_path / "image.npy", np.array([[1, 2], [3, np.inf], [5, 6]], np.float32))
    text, settings = np.ones((3, 1), np.float32), default_config().data
    given = {"text": text, "image": tmp_path / "image.npy"}
    option = 'the setting on_bad_rows="drop"'
    with pytest.raises(UserError, match=r'row 1 .* id 1\) has inf .*drop them \(the setting on_bad_rows="drop"\)$'):
        vector_set(given, [0, 1, 2], settings=settings, bad_rows_option=option)
    settings.on_bad_rows = "drop"
    data = vector_set(given, [0, 1, 2], settings=settings, bad_rows_option=option)
    np.testing.assert_array_equal(data.vectors, [[1, 1, 2], [1, np.nan, np.nan], [1, 5, 6]])
    assert "lack the part 'image': 1 of 3 rows" in caplog.text


def test_ids_in_the_file_of_a_part_are_used_even_if_they_are_0_to_n(tmp_path):
    for name, ids, vectors in (
        ("items", [2, 0, 1], [[3.0], [1.0], [2.0]]),
        ("image", [0, 1, 2], [[1.0], [2.0], [3.0]]),
    ):
        pq.write_table(pa.table({"item_id": ids, "vector": vectors}), tmp_path / f"{name}.parquet")
    config = default_config()
    config.data.path, config.data.parts = str(tmp_path / "items.parquet"), f"image=raw:{tmp_path}/image.parquet"
    np.testing.assert_array_equal(load_vectors(config.data).vectors, [[3, 3], [1, 1], [2, 2]])


def test_a_part_without_ids_has_a_row_for_each_item_that_was_read(tmp_path):
    np.save(tmp_path / "vectors.npy", np.array([[1], [2], [np.inf]], np.float32))
    np.save(tmp_path / "image.npy", np.ones((2, 1), np.float32))
    config = default_config()
    config.data.path, config.data.on_bad_rows = str(tmp_path / "vectors.npy"), "drop"
    config.data.parts = f"image={tmp_path}/image.npy"
    with pytest.raises(UserError, match="image: 2 rows without ids, but 3 items were read"):
        load_vectors(config.data)


def test_an_item_without_parts_is_refused_with_the_option_that_drops_it(tmp_path):
    np.save(tmp_path / "vectors.npy", np.array([[1], [np.nan]], np.float32))
    config = default_config()
    config.data.path = str(tmp_path / "vectors.npy")
    config.data.parts = f"image={tmp_path}/vectors.npy"
    with pytest.raises(UserError, match=r"row 1 .* has none of the parts .*\(--config.data.on_bad_rows=drop\)$"):
        load_vectors(config.data)


def test_a_part_that_all_items_lack_is_named():
    with pytest.raises(UserError, match="part 'image': all vectors are None"):
        vector_set({"text": np.eye(2), "image": [None, None]}, settings=default_config().data)


LAYOUT = Layout((ItemPart("one", 2, 3.0, False), ItemPart("two", 1, 1.0, False)))


def test_weights_are_shares_of_the_variance_by_hand():
    nan = np.nan
    vectors = np.array([[1, 0, nan], [-1, 0, 10], [0, 2, 30], [0, -2, nan]], np.float32)
    scaling = fit_scaling(vectors, unit_norm=False, center=True, standardize="global", layout=LAYOUT)
    np.testing.assert_allclose(scaling.mean, [0, 0, 20])
    # The parts have the variances .5 + 2 and 100. The total variance after scaling is 3, the number of features. The
    # weights, 3 and 1, give the parts 3/4 and 1/4 of this total.
    np.testing.assert_allclose(np.square(scaling.scale), [2.5 / 2.25, 2.5 / 2.25, 100 / 0.75], rtol=1e-6)
    scaled = np.asarray(apply_scaling(scaling, vectors))
    assert scaled[0, 2] == scaled[3, 2] == 0 and np.isfinite(scaled).all()


def test_a_missing_part_is_filled_in_from_the_others_and_costs_nothing():
    random = np.random.default_rng(0)
    one = random.normal(size=(5000, 2))
    scaled = np.column_stack([one, one @ [2.0, -1.0]]).astype(np.float32)
    there = np.ones((5000, 2), bool)
    there[:1000, 1] = False
    filler = fit_filler(LAYOUT, np.where(there[:, [0, 0, 1]], scaled, 0), there, dropout=0.25)
    np.testing.assert_allclose(filler[:2, 2], [2.0, -1.0], rtol=0.03)
    assert not filler[:2, :2].any() and filler[2, 2] == 0
    targets, given = jnp.array([[1.0, 2.0, 0.0]]), jnp.array([[1.5, 2.0, 9.0]])
    present = jnp.array([[True, True, False]])
    assert reconstruction_loss(targets, given, present).tolist() == [0.25]


def test_one_part_of_an_item_is_always_seen_and_others_by_their_share(key):
    there = jnp.tile(jnp.array([[True, True, False], [False, True, False]]), (2000, 1))
    seen = np.asarray(_seen_parts(key, there, 0.4))
    assert not (seen & ~np.asarray(there)).any() and seen.any(axis=1).all()
    # A number is drawn for each part of an item. A part is seen if its number is the largest, or is at least .4. Two
    # parts are both seen if both numbers are at least .4, which has the probability .6^2.
    assert seen[::2, :2].all(axis=1).mean() == pytest.approx(0.36, abs=0.03) and seen[1::2, 1].all()
    assert (np.asarray(_seen_parts(key, there, 0.0)) == np.asarray(there)).all()


def test_a_scaling_of_other_parts_is_refused():
    model = RQVAE(3, (4, 4), latent_dimension=2, hidden_dimensions=(5,), layout=LAYOUT, rngs=nnx.Rngs(0))
    vectors = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    with pytest.raises(ValueError, match="Layout"):
        model.set_scaling(fit_scaling(vectors, unit_norm=False, center=True, standardize="global"))


def test_labels_are_split_stripped_and_distinct_and_a_missing_text_has_none():
    values = ("Comedy | Drama|Comedy", ["a", None, np.float32("nan"), "a", 7], np.array(["x"]), None, float("nan"), "")
    assert [list(labels_of(value)) for value in values] == [["Comedy", "Drama"], ["a", "7"], ["x"], [], [], []]
