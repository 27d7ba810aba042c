"""Writes training data for a language model that reads and writes Semantic IDs, in formats that trainers can load."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError
from sid_jax.export.atomic import atomic_folder, refuse_taken
from sid_jax.formats.content import LEAST_INTERACTIONS, SPLITS, Content
from sid_jax.formats.inputs import enough_histories, with_items
from sid_jax.llm.examples import Examples, Rows, possible_tasks
from sid_jax.llm.tasks import TASKS, as_text, checked_tasks
from sid_jax.llm.tokens import id_tokens
from sid_jax.messages import Messages
from sid_jax.tokens.vocabulary import DEFAULT_PATTERN
from sid_jax.whole_file import write_json
from sid_jax.wording import counted

SUMMARY_FILE, CARD_FILE = "summary.json", "README.md"
TEXT_TRAIN_FILE = "text/train.parquet"
FORMS, FILES = ("chat", "text"), ("parquet", "jsonl")
# Number of rows that are in memory at the same time, and number of rows per row group of a .parquet file.
_ROWS = 16_384
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_COLUMNS = {
    "chat": [("messages", pa.list_(_MESSAGE))],
    "text": [("prompt", pa.string()), ("completion", pa.string())],
}


def write_training_data(
    source: Any,
    out: str | Path,
    *,
    histories: Any = None,
    items: Any = None,
    tasks: Sequence[str] | None = None,
    max_history: int = 20,
    max_text: int = 500,
    copies: int = 1,
    item_dropout: float = 0.0,
    seed: int = 0,
    pattern: str = DEFAULT_PATTERN,
    markers: tuple[str, str] = ("", ""),
    forms: Sequence[str] = FORMS,
    files: Sequence[str] = ("parquet",),
    on_unknown: str = "error",
    messages: Messages | None = None,
) -> dict[str, Any]:
    """Writes training rows for the tasks in `sid_jax.llm.tasks.TASKS`, atomically.

    The splits are leave-one-out: each user's last item is the answer of a test row, and the item before it is the
    answer of a validation row. Training rows about the user's history contain neither of these two items. Every other
    item after a user's first item is the answer of a training row. All rows about a single item are training rows.

    Args:
      source: an export or the folder of `sid-jax tokens`, see `sid_jax.llm.id_tokens`.
      out: a new or empty folder. `FORM/SPLIT.parquet` is written for each form and split.
      histories: see `SemanticIdTokenizer.fit`, or a path. Users with fewer than 3 interactions are dropped.
      items: titles and other columns of items, see `IdTable.with_columns`, or a path to a table of items.
      tasks: names of tasks; None for all tasks for which there is data, except "sequence".
      max_history: maximum number of items in a history; earlier items are dropped.
      max_text: maximum number of characters of a title or description.
      copies: number of training rows for each answer of a task with histories, or for each user if the task is
        "sequence". The copies differ in their wording, and in the items that `item_dropout` leaves out.
      item_dropout: probability, below 1, that an item of a history is left out of a training row. Half of the rows,
        drawn at random, are not changed. The last item of a row is never left out, and at least one item before it
        stays. Item dropout is data augmentation: a small model overfits if all rows of a user are equal.
      seed: seed of the order of training rows, their wording and the items that are left out.
      pattern, markers: see `sid_jax.llm.id_tokens`.
      forms: "chat" for the column `messages`, "text" for the columns `prompt` and `completion`.
      files: "parquet", "jsonl", or both.
      on_unknown: for items of histories that are not in the table: "error" rejects them, "drop" drops them.
      messages: where text is printed; None prints nothing.

    Returns:
      The content of `summary.json`: settings, and the number of rows by task and split.

    Raises:
      UserError: if the value of an argument is not allowed, a task lacks its data, or an input cannot be used.
    """
    forms, files, wanted = _as_list(forms), _as_list(files), None if tasks is None else _as_list(tasks)
    for name, values, allowed in (("forms", forms, FORMS), ("files", files, FILES)):
        if not values or not set(values) <= set(allowed):
            raise UserError(f"{name} are {', '.join(map(str, values or ['none']))}; choose from {', '.join(allowed)}")
        if len(set(values)) < len(values):
            raise UserError(f"{name} are {', '.join(values)}; list each of them once")
    for name, value in (("max_history", max_history), ("max_text", max_text), ("copies", copies)):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more")
    if not 0 <= item_dropout < 1:
        raise UserError(f"item_dropout is {item_dropout}; it must be at least 0 and below 1")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    if wanted is not None:
        checked_tasks(wanted)
    folder = output_folder(out)
    refuse_taken(folder)
    tokens = id_tokens(source, pattern=pattern, markers=markers)
    if items is not None:
        tokens = dataclasses.replace(tokens, table=with_items(tokens.table, items))
    if not len(tokens.table):
        raise UserError(f"{tokens.table.name}: has no items; give at least one")
    taken, left_out = enough_histories(histories, tokens.table, on_unknown)
    content = Content(tokens.table, taken, folder.name, folder)
    names = possible_tasks(content, wanted)
    limits = {"max_history": max_history, "max_text": max_text}
    augmentation: dict[str, Any] = {"copies": copies, "item_dropout": item_dropout}
    examples = Examples(content, names, tokens.texts.to_pylist(), **limits, **augmentation, seed=seed)
    with atomic_folder(folder) as partial:
        rows = {split: examples.rows(split) for split in SPLITS}
        for form in forms:
            (partial / form).mkdir()
        total = sum(map(len, rows.values()))
        with (messages or Messages.silent()).progress("writing, rows", total, transient=True) as progress:
            written = 0
            for split in SPLITS:
                if len(rows[split]):
                    for part in _write_split(partial, split, rows[split], examples, content, forms, files):
                        written += part
                        progress.move(written)
        counts = {split: np.bincount(rows[split].tasks, minlength=len(names)).tolist() for split in SPLITS}
        summary = {
            "rows": {name: {split: counts[split][place] for split in SPLITS} for place, name in enumerate(names)},
            "items": len(tokens.table),
            "users": 0 if taken is None else len(taken),
            "users_left_out": left_out,
            "pattern": tokens.vocabulary.pattern,
            "markers": tokens.markers,
            **limits,
            **augmentation,
            "seed": seed,
            "prompts": {name: TASKS[name].prompts for name in names},
        }
        write_json(partial / SUMMARY_FILE, summary)
        present = [split for split in SPLITS if len(rows[split])]
        (partial / CARD_FILE).write_text(_card(forms, files[0], present), encoding="utf-8")
    _report(messages or Messages.silent(), summary, folder, forms)
    return summary


def _as_list(names: Sequence[str]) -> list[str]:
    """Returns names as a list; one name may be given as text."""
    return [names] if isinstance(names, str) else list(names)


def _write_split(
    folder: Path,
    split: str,
    rows: Rows,
    examples: Examples,
    content: Content,
    forms: Sequence[str],
    files: Sequence[str],
) -> Iterator[int]:
    """Writes rows in blocks, and yields the number of rows of each block after it is written."""
    users = None if content.histories is None else content.histories.user_ids
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(_writer(folder / form / f"{split}.{kind}", form, _about(content)))
            for form in forms
            for kind in files
        ]
        for first in range(0, len(rows), _ROWS):
            part = slice(first, first + _ROWS)
            questions, answers, items = examples.texts(rows, split, part)
            about = {
                "task": [examples.names[task] for task in rows.tasks[part].tolist()],
                "user_id": [None if users is None or user < 0 else users[user] for user in rows.users[part].tolist()],
                "item_id": content.table.item_ids[items].tolist(),
            }
            for write in writers:
                write(about, questions, answers)
            yield len(questions)


def _about(content: Content) -> list[tuple[str, pa.DataType]]:
    """Returns the names and types of the columns that identify the task, the user and the item of a row."""
    kinds = [np.zeros(0, np.int64) if content.histories is None else content.histories.user_ids, content.table.item_ids]
    user, item = (pa.int64() if each.dtype.kind == "i" else pa.string() for each in kinds)
    return [("task", pa.string()), ("user_id", user), ("item_id", item)]


@contextlib.contextmanager
def _writer(path: Path, form: str, about: list[tuple[str, pa.DataType]]) -> Iterator[Any]:
    """Yields a function that appends rows, given the identifying columns, prompts and answers."""
    schema = pa.schema([*about, *_COLUMNS[form]])
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context(path.open("w", encoding="utf-8")) if path.suffix == ".jsonl" else None
        parquet = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd")) if lines is None else None

        def write(columns: dict[str, list[Any]], questions: list[str], answers: list[str]) -> None:
            columns = {**columns, **_text_columns(form, columns["task"], questions, answers)}
            if parquet is not None:
                parquet.write_table(pa.table(columns, schema=schema))
                return
            assert lines is not None
            for row in zip(*columns.values(), strict=True):
                record = dict(zip(columns, row, strict=True))
                lines.write(json.dumps(record, ensure_ascii=False, default=int) + "\n")

        yield write


def _text_columns(form: str, tasks: list[str], questions: list[str], answers: list[str]) -> dict[str, list[Any]]:
    if form == "text":
        prompts = [as_text(task, question) for task, question in zip(tasks, questions, strict=True)]
        return {"prompt": prompts, "completion": answers}
    said = [(("user", question), ("assistant", answer)) for question, answer in zip(questions, answers, strict=True)]
    return {"messages": [[{"role": role, "content": text} for role, text in each] for each in said]}


def _card(forms: Sequence[str], ending: str, splits: Sequence[str]) -> str:
    """Returns the dataset card, with which `datasets` loads each form as a configuration."""
    lines = ["---", "configs:"]
    for form in forms:
        lines += [f"- config_name: {form}", "  data_files:"]
        for split in splits:
            name = "validation" if split == "valid" else split
            lines += [f"  - split: {name}", f"    path: {form}/{split}.{ending}"]
    return "\n".join([*lines, "---", "", "Training data for a language model that reads and writes Semantic IDs.", ""])


def _report(messages: Messages, summary: dict[str, Any], folder: Path, forms: Sequence[str]) -> None:
    title = f"Rows about {counted(summary['items'], 'item')} and {counted(summary['users'], 'user')}"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("task")
    for split in SPLITS:
        table.add_column(split, justify="right")
    for name, counts in summary["rows"].items():
        table.add_row(name, *(f"{counts[split]:,}" for split in SPLITS))
    messages.show(table)
    if left_out := summary["users_left_out"]:
        messages.line(f"Dropped {counted(left_out, 'user')} with fewer than {LEAST_INTERACTIONS} interactions")
    messages.line(f"The rows are in {folder}: {', '.join([*forms, SUMMARY_FILE, CARD_FILE])}")
    call = f"sid_jax.llm.fine_tune(model, tokenizer, {str(folder)!r})"
    messages.line(
        "Next, in Python: add the tokens to the model and the text tokenizer with sid_jax.llm.add_tokens, and then "
        f"call {call}"
    )
