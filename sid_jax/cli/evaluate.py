"""Measures anyone's Semantic IDs.

sid-jax evaluate --ids=exports/items --vectors=items.parquet
sid-jax evaluate --ids=letter.json+1 --vectors=items.npy --vector_ids=ids.txt --labels=items.jsonl:categories
"""

from __future__ import annotations

from absl import flags

from sid_jax import command

_IDS = flags.DEFINE_string(
    "ids",
    None,
    "An export's folder, or a .parquet, .csv, .json or .npy file; with +1 after it, 1 is added to its item ids.",
    required=True,
)
_VECTORS = flags.DEFINE_string(
    "vectors", None, "Files of vectors, of any kind that trains: for what compares IDs with them."
)
_VECTOR_IDS = flags.DEFINE_string("vector_ids", None, "For vectors without ids: a file with an item id a line.")
_ID_COLUMN = flags.DEFINE_string("id_column", "item_id", "The vectors' column of item ids.")
_VECTOR_COLUMN = flags.DEFINE_string("vector_column", "vector", "The vectors' own column.")
_CODEBOOKS = flags.DEFINE_string("codebooks", None, "An export's folder, whose decoder says what IDs stand for.")
_LABELS = flags.DEFINE_string("labels", None, "FILE:COLUMN, a .parquet, .csv or .jsonl file with ids in column 1.")
_HISTORIES = flags.DEFINE_string(
    "histories",
    None,
    "Who took what after what: a text file with a line a user, or a .parquet or .csv of interactions.",
)
_HOLDOUT = flags.DEFINE_integer("holdout", 2, "Each user's last interactions, left out as a test's.", lower_bound=0)
_OTHER = flags.DEFINE_string("other", None, "IDs of the same items after another training: for the stability.")
_OUT = flags.DEFINE_string("out", None, "A .json file for the figures.")


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__)


def _main() -> None:
    """Measures what the flags name."""
    from sid_jax.evaluate import Sources, evaluate_ids

    sources = Sources(
        ids=_IDS.value,
        vectors=_VECTORS.value,
        vector_ids=_VECTOR_IDS.value,
        id_column=_ID_COLUMN.value,
        vector_column=_VECTOR_COLUMN.value,
        codebooks=_CODEBOOKS.value,
        labels=_LABELS.value,
        histories=_HISTORIES.value,
        holdout=_HOLDOUT.value,
        other=_OTHER.value,
    )
    evaluate_ids(sources, out=_OUT.value)
