"""The transition graph: how often items follow each other in histories."""

from __future__ import annotations

import numpy as np
import scipy

from sid_jax.data.histories import Histories, item_counts

# Maximum distance between the two items of a transition. Transitions at larger distances are not counted, since their
# weight is nearly 0: at most .9 ** 60, if `gap_decay` is .9.
_LONGEST_GAP = 60


def transition_graph(
    train: Histories, *, gap_decay: float, back: float, from_power: float, to_power: float, next_bonus: float = 0.0
) -> scipy.sparse.csr_array:
    """Returns the transition graph, `[N, N]` float64: the strength of each item as a follower of each other item.

    The strength of item j as a follower of item i is (forward + back * backward) / (count_i ** from_power * count_j **
    to_power). `forward` counts how often j comes after i in a history, and `backward` how often j comes before i. Each
    occurrence is weighted by `gap_decay` ** (number of items in between). An item never follows itself.

    Args:
      train: histories of N items.
      gap_decay: decay of a transition's weight per item in between.
      back: weight of backward transitions relative to forward ones.
      from_power, to_power: exponents of the items' interaction counts.
      next_bonus: added to `forward` for each time that j directly follows i.
    """
    counts = np.maximum(item_counts(train), 1)
    from_items, to_items = (scipy.sparse.diags_array(counts**-power) for power in (from_power, to_power))
    forward = _pairs(train, 1, _LONGEST_GAP, gap_decay)
    graph = forward + back * forward.T
    if next_bonus:
        graph = graph + next_bonus * _pairs(train, 1, 1, gap_decay)
    return scipy.sparse.csr_array(from_items @ graph @ to_items)


def _pairs(train: Histories, first_gap: int, last_gap: int, gap_decay: float) -> scipy.sparse.csr_array:
    """Returns `[N, N]` float64: how often one item comes after another, weighted by `gap_decay` ** (items between)."""
    users = np.repeat(np.arange(len(train)), train.lengths)
    graph = scipy.sparse.csr_array((len(train.item_ids),) * 2)
    for gap in range(first_gap, min(int(train.lengths.max(initial=0)), last_gap + 1)):
        first = np.flatnonzero(users[:-gap] == users[gap:])
        one, other = train.items[first], train.items[first + gap]
        weights = np.where(one == other, 0.0, gap_decay ** (gap - 1))
        graph = graph + scipy.sparse.csr_array((weights, (one, other)), shape=graph.shape)
    return graph
