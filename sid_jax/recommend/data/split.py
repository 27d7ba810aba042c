"""The leave-one-out split of histories into training, validation and test, and the draw of cold items."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from ml_collections import ConfigDict

from sid_jax.data.histories import Histories, keep_active
from sid_jax.data.load import load_histories, load_vectors
from sid_jax.errors import UserError
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.paths import file_to_write
from sid_jax.recommend.config import MADE_IDS
from sid_jax.recommend.data.quantizer import BAD_ROWS_OPTION, quantizer_config
from sid_jax.streams import stream_rng


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationExamples:
    """Evaluation examples: the histories of E users, each with its next item as the target.

    Attributes:
      histories: histories of the E users, with at least one item each.
      targets: `[E]` int32, for each history the row of its target in the catalog.
      left_out: number of users who have no example because their history is empty.
    """

    histories: Histories
    targets: np.ndarray
    left_out: int

    @functools.cached_property
    def num_seen_targets(self) -> int:
        """Number of targets that are seen items; lists that exclude seen items cannot contain them."""
        user_of = np.repeat(np.arange(len(self.targets)), self.histories.lengths)
        return len(np.unique(user_of[self.histories.items == self.targets[user_of]]))

    @property
    def mostly_seen(self) -> bool:
        """Whether most targets are seen items."""
        return 2 * self.num_seen_targets > len(self.targets)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Histories, split for training and evaluation.

    Attributes:
      train: the training histories of U users. A history may be empty.
      validation: each user's second-to-last item as the target, with the items before it as the history.
      test: each user's last item as the target, with all items before it as the history, including the validation
        target.
      cold: `[N]` bool, the items on which the model is not trained; these items occur only as targets.
    """

    train: Histories
    validation: EvaluationExamples
    test: EvaluationExamples
    cold: np.ndarray


def leave_one_out(histories: Histories, cold: np.ndarray | None = None) -> Split:
    """Splits each user's history by TIGER's leave-one-out protocol (Rajput et al., 2305.05065, section 4).

    Cold items are removed from the training histories and from all evaluation histories, as if nobody had interacted
    with them before; targets are unchanged. Users whose history becomes empty are not evaluated.

    Args:
      histories: histories of U users over N items.
      cold: `[N]` bool; None for no cold items.

    Raises:
      UserError: if no user has two items left to train on.
    """
    cold = np.zeros(len(histories.item_ids), bool) if cold is None else cold
    train = _without_items(histories.without_last(2), cold)
    if train.lengths.max(initial=0) < 2:
        raise UserError(
            f"there is no training data: without the last two items of each user and {cold.sum()} cold items, none of "
            f"{len(histories)} users has two items left; give longer histories or fewer cold items"
        )
    return Split(
        train=train,
        validation=_examples(histories, train, back=2),
        test=_examples(histories, _without_items(histories.without_last(1), cold), back=1),
        cold=cold,
    )


def refuse_seen_targets(split: Split) -> None:
    """Raises a UserError if more than half of the test targets are seen items.

    If seen items are excluded from the lists, these targets count as misses.
    """
    test = split.test
    if test.mostly_seen:
        raise UserError(
            f"{test.num_seen_targets:,} of {len(test.targets):,} users have a seen item as their last item, and "
            "config.eval.exclude_seen=True excludes seen items from all lists; set --config.eval.exclude_seen=False"
        )


def choose_cold_items(histories: Histories, amount: float, seed: int) -> np.ndarray:
    """Draws cold items, which are excluded from all training.

    TIGER draws 5 % of the test items (Rajput et al., 2305.05065, section 4.3).

    Args:
      histories: histories of U users over N items.
      amount: if below 1, the share of the users' distinct last items to draw; otherwise the number of items to draw. At
        least one item is drawn.
      seed: the same seed draws the same items.

    Returns:
      `[N]` bool.

    Raises:
      UserError: if the amount is 0 or less, or at least the number of distinct last items.
    """
    targets = np.unique(histories.items[histories.offsets[1:][histories.lengths > 0] - 1])
    if not 0 < amount < max(1, len(targets)):
        raise UserError(
            f"--draw_cold={amount:g} is not possible: cold items are drawn from the {len(targets)} distinct last items "
            f"of the users. Give a share above 0 and below 1, or a number of items below {len(targets)}"
        )
    number = max(1, round(amount * len(targets) if amount < 1 else amount))
    cold = np.zeros(len(histories.item_ids), bool)
    cold[stream_rng(seed, "cold_items").choice(targets, number, replace=False)] = True
    return cold


def _without_items(histories: Histories, unwanted: np.ndarray) -> Histories:
    return histories.keep_interactions(~unwanted[histories.items])


def _examples(histories: Histories, known: Histories, back: int) -> EvaluationExamples:
    """Returns one example for each user whose history in `known` is not empty.

    `histories` has the whole histories. `known` has, for the same users, the items that the model may read. The target
    is the item at index `-back` of the user's whole history.
    """
    asked = known.lengths > 0
    targets = histories.items[histories.offsets[1:][asked] - back]
    return EvaluationExamples(known.keep_users(asked), targets, left_out=int((~asked).sum()))


def configured_histories(config: ConfigDict, item_ids: np.ndarray) -> Histories:
    """Loads all histories of `config.data` over the catalog with the item ids `[N]`.

    Raises:
      UserError: if the histories cannot be used.
    """
    return load_histories(
        config.data,
        item_ids,
        where="config.data",
        cache_dir=config.data.cache_dir,
        core=config.data.core,
        on_unknown=config.data.on_unknown,
    )


def draw_cold_items(config: ConfigDict, amount: float) -> int:
    """Draws cold items and writes them to the file `config.data.cold_items`, one id per line.

    The draw is a function of the histories and of `config.seed`. If the run itself makes the IDs, there is no
    ID table yet, and the items are read from `config.quantizer.data`.

    Args:
      config: from `sid_jax.recommend.config`.
      amount: see `choose_cold_items`.

    Returns:
      The number of cold items.

    Raises:
      UserError: if the config names no file, the file exists already, or the data cannot be used.
    """
    if not config.data.cold_items:
        raise UserError("--draw_cold needs a file to write; set --config.data.cold_items=cold.txt")
    path = file_to_write(config.data.cold_items)
    item_ids = _catalog(config)
    histories = keep_active(configured_histories(config, item_ids), config.data.min_interactions)
    cold = choose_cold_items(histories, amount, config.seed)
    try:
        # Mode "x" fails if the file exists, so that an existing list is not overwritten.
        with path.open("x", encoding="utf-8") as file:
            file.write("".join(f"{item}\n" for item in item_ids[cold].tolist()))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}); choose another file") from error
    return int(cold.sum())


def _catalog(config: ConfigDict) -> np.ndarray:
    if config.ids == "rqvae" or config.ids in MADE_IDS:
        settings = quantizer_config(config).data
        settings.cold_items = ""  # The file of cold items does not exist yet.
        settings.histories.source = "none"
        return load_vectors(settings, option=BAD_ROWS_OPTION).ids
    path, offset = parse_id_source(config.ids)
    return read_id_table(path, offset).item_ids
