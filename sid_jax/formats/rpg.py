"""RPG (Hou et al., 2506.05781): histories, the numbering of items and users, and each item's text and codes."""

from __future__ import annotations

from pathlib import Path

from sid_jax.formats.content import Content, one_line, write_plain_json

# The default of RPG's setting `sent_emb_model`, which is part of the name of the file of codes.
_MODEL = "text-embedding-3-large"
_PADDING = "[PAD]"


def write_rpg(folder: Path, content: Content) -> None:
    """Writes the files of `cache/AmazonReviews2014/CATEGORY/processed`, with ids as text.

    In the numbering of items and of users, the number 0 is padding.

    Run RPG with `n_codebook` = L and `codebook_size` = 2^b, where 2^b is the smallest power of two that is larger than
    every code. The name of the file of codes states L and b as OPQL,IVF1,PQLxb. For example, OPQ3,IVF1,PQ3x8 means 3
    codes below 256.
    """
    levels, bits = len(content.table.sizes), max(1, (max(content.table.sizes) - 1).bit_length())
    items = list(map(str, content.table.item_ids.tolist()))
    codes = dict(zip(items, content.codes, strict=True))
    write_plain_json(folder / f"{_MODEL}_OPQ{levels},IVF1,PQ{levels}x{bits}.sem_ids", codes)
    parts = zip(*map(content.texts, ("title", "brand", "categories", "description")), strict=True)
    sentences = (one_line(" ".join(part for part in each if part)) for each in parts)
    write_plain_json(folder / "metadata.sentence.json", dict(zip(items, sentences, strict=True)))
    if content.histories is not None:
        users = list(map(str, content.histories.user_ids.tolist()))
        sequences = ([items[each] for each in row] for row in content.sequences)
        write_plain_json(folder / "all_item_seqs.json", dict(zip(users, sequences, strict=True)))
        ids = {"user": [_PADDING, *users], "item": [_PADDING, *items]}
        mapping = {f"{what}2id": {each: number for number, each in enumerate(names)} for what, names in ids.items()}
        write_plain_json(folder / "id_mapping.json", {**mapping, **{f"id2{what}": each for what, each in ids.items()}})
