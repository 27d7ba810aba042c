"""OpenOneRec (Kuaishou): the map from items to codes, the tokens, and chats for fine-tuning."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sid_jax.data.numbered import USER_IDS_FILE, write_ids
from sid_jax.formats.content import SPLITS, Content
from sid_jax.ids.convert import number_lists
from sid_jax.tokens.vocabulary import Vocabulary

_BEGIN, _END = "<|sid_begin|>", "<|sid_end|>"
_PATTERN = "<s_{letter}_{code}>"
# Maximum number of items in a history, as in OpenOneRec's video_rec task.
_WINDOW = 512
_SYSTEM = "You are a recommendation assistant. From what a user took before, you predict what the user will take next."
_USER = "The user took these items, the oldest first:\n{history}\nPredict the item that the user will take next."


def write_openonerec(folder: Path, content: Content) -> None:
    """Writes `pid2sid.parquet` and `tokens.txt`, and if there are histories, one file per split.

    A file of a split has one row per user. A user with 3 items has no row in the training file.
    """
    pids = content.integer_ids(folder)
    pq.write_table(pa.table({"pid": pids, "sid": number_lists(content.table.semantic_ids)}), folder / "pid2sid.parquet")
    # All levels have the same size, as in OpenOneRec's expand_qwen3_vocab.py.
    sizes = (max(content.table.sizes),) * len(content.table.sizes)
    levels = Vocabulary(sizes, pattern=_PATTERN).levels
    tokens = [*(token for level in levels for token in level), _BEGIN, _END]
    (folder / "tokens.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    if content.histories is None:
        return
    users = content.histories.user_ids
    if users.dtype.kind != "i":
        write_ids(folder / USER_IDS_FILE, users)
        users = np.arange(len(users))
    texts = [f"{_BEGIN}{''.join(each)}{_END}" for each in content.tokens(_PATTERN)]
    for split in SPLITS:
        rows = [
            {
                "uuid": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{content.name} {split} {user}")),
                "source": content.name,
                "metadata": json.dumps({"uid": int(users[user])}),
                "images": "[]",
                "videos": "[]",
                "messages": _messages("".join(texts[item] for item in items[-_WINDOW:]), texts[target]),
            }
            for user, items, target in content.examples(split)
        ]
        # OpenOneRec's loader reads only the first row group of a file, so each file is written as a single row group.
        names = ("uuid", "source", "metadata", "images", "videos", "messages")
        schema = pa.schema([(name, pa.string()) for name in names])
        table = pa.Table.from_pylist(rows, schema)
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=max(1, len(table)))


def _messages(history: str, answer: str) -> str:
    said = {"system": _SYSTEM, "user": _USER.format(history=history), "assistant": answer}
    return json.dumps([{"role": role, "content": [{"type": "text", "text": text}]} for role, text in said.items()])
