"""MiniOneRec: LC-Rec's files, an info file, and one `.inter` file and one CSV file for each split."""

from __future__ import annotations

import csv
from pathlib import Path

from sid_jax.formats.content import SPLITS, Content, one_line
from sid_jax.formats.lcrec import write_lcrec
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN

# Maximum number of items in a history, as in MiniOneRec's own data processing.
_WINDOW = 50
_COLUMNS = (
    "user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid", "item_sid",
)  # fmt: skip


def write_minionerec(folder: Path, content: Content) -> None:
    """Writes the input and output files of MiniOneRec's `convert_dataset.py`, in the folders that this script uses."""
    # A missing title is replaced by the text that MiniOneRec uses, since pandas would read an empty field as NaN.
    titles = [one_line(title) or f"Item_{number}" for number, title in enumerate(content.texts("title"))]
    write_lcrec(folder, content, title=titles)
    sids = ["".join(tokens) for tokens in content.tokens(DEFAULT_PATTERN)]
    (folder / "info").mkdir()
    lines = (f"{sid}\t{title}\t{number}\n" for number, (sid, title) in enumerate(zip(sids, titles, strict=True)))
    (folder / "info" / f"{content.name}.txt").write_text("".join(lines), encoding="utf-8")
    for split in SPLITS if content.histories is not None else ():
        _write_split(folder, content, split, sids, titles)


def _write_split(folder: Path, content: Content, split: str, sids: list[str], titles: list[str]) -> None:
    (folder / split).mkdir()
    with (
        (folder / f"{content.name}.{split}.inter").open("w", encoding="utf-8") as inter,
        (folder / split / f"{content.name}.csv").open("w", encoding="utf-8", newline="") as table,
    ):
        inter.write("user_id:token\titem_id_list:token_seq\titem_id:token\n")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for user, items, target in content.examples(split, _WINDOW):
            inter.write(f"{user}\t{' '.join(map(str, items))}\t{target}\n")
            history_titles, history_sids = [titles[item] for item in items], [sids[item] for item in items]
            # Lists are written in Python's syntax, since MiniOneRec evaluates them as Python expressions.
            lists = (str(history_titles), titles[target], str(items), target, str(history_sids), sids[target])
            writer.writerow((f"A{user}", *lists))
