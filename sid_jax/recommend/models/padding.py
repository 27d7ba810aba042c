"""Pads the arrays of a catalog to sizes that stay the same for newer, slightly larger versions of the catalog."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sid_jax.recommend.data.room import Room
from sid_jax.recommend.models.catalog import Catalog


def padded(catalog: Catalog, room: Room) -> Catalog:
    """Returns the catalog with its arrays padded to the sizes that a `Room` gives, as NumPy arrays.

    All arrays are padded with copies of their last entry. The added items are not in the trie, so they are never
    recommended. The added nodes of the trie have no children and no items. The maximum numbers of children are rounded
    up too, since compiled programs depend on them.
    """
    trie, evidence = catalog.trie, catalog.evidence
    rows = room.size("items", len(catalog.semantic_ids))

    def of_items(array: Any) -> Any:
        return None if array is None else _padded(array, rows)

    def of_nodes(name: str, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(_padded(each, room.size(f"{name} {level}", len(each))) for level, each in enumerate(arrays))

    children = [room.size(f"children {level}", number) for level, number in enumerate(trie.max_children)]
    return dataclasses.replace(
        catalog,
        semantic_ids=of_items(catalog.semantic_ids),
        prefixes=of_items(catalog.prefixes),
        trie=dataclasses.replace(
            trie,
            first_child=of_nodes("first_child", trie.first_child),
            codes=of_nodes("codes", trie.codes),
            first_item=of_nodes("first_item", (trie.first_item,))[0],
            items=of_items(trie.items),
            max_children=tuple(map(min, children, trie.sizes)),
        ),
        content=of_items(catalog.content),
        # The mask is present even if no item is cold, since the next version may have cold items.
        cold=of_items(np.zeros(len(catalog.semantic_ids), np.float32) if catalog.cold is None else catalog.cold),
        evidence=None
        if evidence is None
        else dataclasses.replace(
            evidence,
            followers=of_items(evidence.followers),
            strengths=of_items(evidence.strengths),
            profiles=of_items(evidence.profiles),
            log_popularity=of_items(evidence.log_popularity),
        ),
    )


def _padded(array: Any, size: int) -> Any:
    array = np.asarray(array)
    return np.pad(array, ((0, size - len(array)),) + ((0, 0),) * (array.ndim - 1), "edge")
