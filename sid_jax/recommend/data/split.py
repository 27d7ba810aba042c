"""What a recommender learns from and what it is asked: leave-one-out, and items that nobody has seen."""

from __future__ import annotations

import dataclasses

import numpy as np

from sid_jax.data.histories import Histories
from sid_jax.errors import UserError
from sid_jax.streams import stream_rng


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Questions with their answers: E users' histories, and the item that came next.

    Attributes:
      histories: of the E users; each has at least one item.
      targets: `[E]` int32 rows of items, row for row with `histories`.
      left_out: how many users are not asked, because nothing of their history is left.
    """

    histories: Histories
    targets: np.ndarray
    left_out: int


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Histories, divided for training and evaluation.

    Attributes:
      train: U users; all that may be learned from. A user may have no item in it.
      validation: the last item but one of each user, asked of what came before.
      test: the last item of each user, asked of what came before: the validation's target too.
      cold: `[N]` bool, items that occur as targets only.
    """

    train: Histories
    validation: HeldOut
    test: HeldOut
    cold: np.ndarray


def leave_one_out(histories: Histories, cold: np.ndarray | None = None) -> Split:
    """Splits each user's history in time, as TIGER does (Rajput et al., 2305.05065, section 4).

    Cold items are taken out of the training sequences and out of every history that a model is asked with, as if nobody
    had seen them before; targets stay what they are. A user of whose history nothing is left is not asked.

    Args:
      histories: U users of N items.
      cold: `[N]` bool; None for no cold items.

    Raises:
      UserError: if no user is left with two items to learn from.
    """
    cold = np.zeros(len(histories.item_ids), bool) if cold is None else cold
    train = _without_items(histories.without_last(2), cold)
    if train.lengths.max(initial=0) < 2:
        raise UserError(
            f"nothing to learn from: without each user's last two items and {cold.sum()} cold items, none of "
            f"{len(histories)} users has two items left; give longer histories"
        )
    return Split(
        train=train,
        validation=_held_out(histories, train, back=2),
        test=_held_out(histories, _without_items(histories.without_last(1), cold), back=1),
        cold=cold,
    )


def choose_cold_items(histories: Histories, amount: float, seed: int) -> np.ndarray:
    """Draws items to be held out of all training (TIGER, 2305.05065, section 4.3: 5 % of the test items).

    Args:
      histories: U users of N items.
      amount: below 1, a share of the distinct items that are some user's last, of which at least one item is drawn;
        from 1 on, how many of them.
      seed: the same seed draws the same items.

    Returns:
      `[N]` bool.

    Raises:
      UserError: if the amount is not above 0, or there are not so many items and one more.
    """
    targets = np.unique(histories.items[histories.offsets[1:][histories.lengths > 0] - 1])
    if not 0 < amount < max(1, len(targets)):
        raise UserError(
            f"{amount:g} cold items: give a share, above 0 and below 1, or a number below {len(targets)}, the items "
            "that are some user's last"
        )
    number = max(1, round(amount * len(targets) if amount < 1 else amount))
    cold = np.zeros(len(histories.item_ids), bool)
    cold[stream_rng(seed, "cold_items").choice(targets, number, replace=False)] = True
    return cold


def _without_items(histories: Histories, unwanted: np.ndarray) -> Histories:
    return histories.keep_interactions(~unwanted[histories.items])


def _held_out(histories: Histories, known: Histories, back: int) -> HeldOut:
    """Asks what is known of each user, if anything, for the item `back` places from the end of the whole history."""
    asked = known.lengths > 0
    targets = histories.items[histories.offsets[1:][asked] - back]
    return HeldOut(known.keep_users(asked), targets, left_out=int((~asked).sum()))
