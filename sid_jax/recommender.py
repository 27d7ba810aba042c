"""Recommender and GenerativeRecommender, which are trained on Semantic IDs and interaction histories in memory."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sid_jax.errors import UserError
from sid_jax.precision import in_32_bits

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from sid_jax.ids.table import IdTable
    from sid_jax.recommend.artifact import TrainedRecommender
    from sid_jax.recommend.data.task import Task
    from sid_jax.recommend.evaluation.report import EvaluationReport
    from sid_jax.recommend.serving import Explanation, Recommendation, Server
    from sid_jax.tokenizer import SemanticIdTokenizer


class Recommender:
    """Scores all items from their Semantic IDs, content vectors and item embeddings, and recommends the best.

    `fit` trains a transformer on interaction histories. An item's vector is the sum of its code embeddings, a
    learned map of its content vector, and an item embedding. An item's score is the inner product of its vector with
    the transformer's hidden state after the history. Item transitions, content similarity and popularity are added to
    the scores (the blend), with weights fitted to the validation targets. `GenerativeRecommender` generates IDs
    instead.

        recommender = Recommender(tokenizer).fit(histories, vectors=vectors)
        recommender.recommend(["sku-7", "sku-42"], k=10)
        recommender.save("exports/recommender")

    Args:
      tokenizer: the Semantic IDs, as a fitted `SemanticIdTokenizer`, an `IdTable`, or a path that `sid_jax.load` or the
        commands accept as IDs.
      preset: the name of a set of settings: "beauty" (for sparse histories), "ml100k" (for dense histories),
        "beauty,quick" or "ml100k,quick"; or the full name of a preset as on the command line, such as
        "recommend:beauty". The class sets the model, and a preset that names the model of the other class is rejected.
      settings: any setting of `sid_jax.recommend.config` by its full name, as in `**{"train.learning_rate": 1e-3}`. The
        section may be omitted, as in `num_beams=100`, if only one of the sections data, model, train, eval and backoff
        has a setting of this name.

    Raises:
      UserError: if there are no such IDs, preset or setting, or a value is not allowed.
    """

    # The model, as an argument of the preset "recommend"; for example, "recommend:beauty,scorer".
    _MODEL = "scorer"

    def __init__(self, tokenizer: SemanticIdTokenizer | IdTable | str | Path, preset: str = "beauty", **settings: Any):
        from sid_jax.recommend.named_settings import config_of
        from sid_jax.recommend.newer_table import table_of

        ids = str(tokenizer) if isinstance(tokenizer, (str, Path)) else None
        self._config: ConfigDict = config_of(preset, self._MODEL, ids, settings)
        self._given_table: IdTable | None = table_of(tokenizer)
        self._trained: TrainedRecommender | None = None
        self._server: Server | None = None
        self._task: Task | None = None

    @classmethod
    def from_trained(cls, trained: TrainedRecommender) -> Recommender:
        """Returns a fitted recommender with the parameters, items and settings of `trained`."""
        from sid_jax.recommend.config import GENERATIVE

        kind = GenerativeRecommender if trained.config.model.kind in GENERATIVE else Recommender
        recommender = kind.__new__(kind)
        recommender._config, recommender._given_table, recommender._task = trained.config, None, None
        recommender._set(trained)
        return recommender

    @in_32_bits
    def fit(
        self,
        histories: Any,
        *,
        vectors: Any = None,
        on_unknown: str = "error",
        workdir: str | Path | None = None,
        verbose: bool = True,
    ) -> Self:
        """Trains on interaction histories.

        Each user's last item is reserved for `evaluate`, and the item before it for the choice of the best checkpoint.
        Users with fewer interactions than the setting `data.min_interactions` are dropped.

        Args:
          histories: each user's item ids, the oldest first: a list of lists, a dict from user to item ids, a table with
            one row per interaction, or the path of a file that the commands accept. The settings `data.user_column`,
            `data.item_column` and `data.time_column` name the columns of a table.
          vectors: content vectors of the items, for models and settings that use them (`model.kind="scorer"`, cold
            items). They are `[N, D]` in the order of the ID table, or vectors with ids in any form that
            `SemanticIdTokenizer.fit` accepts. None: the vectors of the setting `quantizer.data.path`, if it is set.
          on_unknown: how items that are not in the ID table are treated: "error" rejects them, "drop" drops them.
          workdir: a folder for checkpoints and metrics. An interrupted run in this folder is resumed, with
            the same result as an uninterrupted run, bit for bit. None: nothing is kept on disk.
          verbose: whether to show progress, and to log messages to the logger "sid_jax".

        Returns:
          The recommender itself.

        Raises:
          UserError: if the histories cannot be used. The message says what is wrong and where.
          KeyboardInterrupt: if training was interrupted. With a workdir, calling `fit` again continues it.
        """
        from sid_jax.recommend.in_memory import fitted

        trained, self._task = fitted(
            self._config.copy_and_resolve_references(),
            self.table,
            histories,
            vectors,
            on_unknown=on_unknown,
            workdir=workdir,
            verbose=verbose,
        )
        self._set(trained)
        return self

    @property
    def config(self) -> ConfigDict:
        """All settings, as a locked `ml_collections.ConfigDict`."""
        return self._config

    @property
    def trained(self) -> TrainedRecommender:
        """The trained parameters, items and settings, which `save` writes.

        Raises:
          UserError: if the recommender is not fitted.
        """
        if self._trained is None:
            raise UserError(
                f"this {type(self).__name__} is not fitted; call fit(histories), or load one with sid_jax.load"
            )
        return self._trained

    @property
    def table(self) -> IdTable:
        """The ID table: items, titles and Semantic IDs."""
        if self._given_table is not None:
            return self._given_table
        return self.trained.candidates.table

    @property
    def num_unknown(self) -> int:
        """Number of history items that the last recommendation call dropped because they are not in the ID table."""
        return 0 if self._server is None else self._server.num_unknown

    @in_32_bits
    def recommend(
        self,
        history: Sequence[int | str],
        k: int = 10,
        *,
        user: int | str = "",
        exclude_seen: bool = True,
        cold_slots: int = 0,
        on_unknown: str = "drop",
        exact: bool = False,
    ) -> list[Recommendation]:
        """Returns the k most likely next items, with titles and scores.

        Args:
          history: any number of item ids, the oldest first. Of the items that are in the ID table, the last
            `model.window` are used. If there are none, the most popular items are returned.
          k: maximum number of recommended items, 1 or more.
          user: the user's id, used only by models of the kind encoder_decoder.
          exclude_seen: whether items of the history are excluded.
          cold_slots: number of slots at the end of the list that are reserved for cold items, on which the model was
            not trained.
          on_unknown: how items that are not in the ID table are treated: "drop" drops them, counts them in
            `num_unknown` and logs their number; "error" rejects them.
          exact: whether all items are ranked. If False, a model of the kind scorer or sasrec with 100,000 items or more
            ranks only a shortlist on a CPU. The shortlist has the items with the highest approximate scores and, if the
            blend uses transitions, the items with the strongest transitions from the history. The approximate scores
            are computed from 64 principal directions of vectors that consist of the item's sum of components and, if
            the blend uses content, the item's projected content vector.

        Returns:
          The recommended items, the best first. The list has fewer than k items only if no more items may be
          recommended.

        Raises:
          UserError: if an argument is out of range; if an item is unknown and `on_unknown` is "error"; or if
            `cold_slots` is above 0, but the recommender has no cold items, or it generates IDs and has no vectors of
            the cold items.
        """
        return self.recommend_batch(
            [history],
            k,
            users=[user],
            exclude_seen=exclude_seen,
            cold_slots=cold_slots,
            on_unknown=on_unknown,
            exact=exact,
        )[0]

    @in_32_bits
    def recommend_batch(
        self,
        histories: Sequence[Sequence[int | str]] | Mapping[Any, Sequence[int | str]],
        k: int = 10,
        *,
        users: Sequence[int | str] | None = None,
        exclude_seen: bool = True,
        cold_slots: int = 0,
        on_unknown: str = "drop",
        exact: bool = False,
    ) -> list[list[Recommendation]]:
        """Returns a list of recommended items for each of many histories, in the order of the histories.

        Histories are padded to a few fixed shapes, so any number of them needs only a few compiled programs.

        Args:
          histories: a history as in `recommend` for each user; the keys of a mapping are user ids.
          users: the user ids. None: the keys if `histories` is a mapping, or else no user ids.
          k: see `recommend`.
          exclude_seen: see `recommend`.
          cold_slots: see `recommend`.
          on_unknown: see `recommend`.
          exact: see `recommend`.

        Raises:
          UserError: see `recommend`; also if `users` and `histories` have different lengths.
        """
        if isinstance(histories, Mapping):
            users, histories = list(histories) if users is None else users, list(histories.values())
        elif hasattr(histories, "__iter__") and not isinstance(histories, (str, bytes)):
            histories = list(histories)
        return self._serve().recommend(
            histories,
            k,
            users=users,
            exclude_seen=exclude_seen,
            cold_slots=cold_slots,
            on_unknown=on_unknown,
            exact=exact,
        )

    @in_32_bits
    def explain(self, history: Sequence[int | str], item: int | str) -> Explanation:
        """Explains an item's score after a history by the contributions of its codes, content and item embedding.

        Args:
          history: see `recommend`.
          item: the id of an item that can be recommended.

        Returns:
          The score, and the contribution of each component of the item's vector and each term of the blend; see
          `Explanation`.

        Raises:
          UserError: if the model is not of the kind scorer or sasrec, no item of the history is known, or the item
            cannot be recommended.
        """
        return self._serve().explain(history, item)

    @in_32_bits
    def evaluate(self, histories: Any = None, *, verbose: bool = True) -> EvaluationReport:
        """Evaluates the recommender and two baselines on each user's last item, ranked among all items of the catalog.

        Args:
          histories: see `fit`. None: the histories that were given to `fit`. The baselines (popularity and item-kNN)
            are fitted on the same histories without each user's last two items.
          verbose: see `fit`.

        Returns:
          Recall, NDCG and MRR over all users, with 95 % bootstrap intervals, for the recommender, popularity and
          item-kNN. Seen items are treated by the rule of `eval.exclude_seen`; the report's attribute `other` has the
          results under the opposite rule.

        Raises:
          UserError: if the recommender was loaded and no histories are given, or if the histories cannot be used.
        """
        from sid_jax.recommend.in_memory import evaluated

        trained = self.trained
        report = evaluated(trained, self._task, histories, verbose)
        if histories is None:
            # `save` also writes the metrics on the histories of `fit`, so these metrics are stored in `_trained`.
            self._trained = dataclasses.replace(trained, figures=report.evaluations[0].figures(report.samples))
        return report

    def with_catalog(
        self,
        ids: str | Path | IdTable | SemanticIdTokenizer,
        *,
        vectors: Any = None,
        vector_ids: str | Path = "",
        on_bad_rows: str | None = None,
    ) -> Recommender:
        """Returns a new recommender with the same model and a newer version of the ID table.

        Nothing is trained, and the recommender itself is unchanged. The catalog's arrays are padded, with space for at
        least 1/16 more items. Newer tables that fit into this space use the compiled programs of the older table. Only
        the programs for `cold_slots` are compiled again.

        Args:
          ids: the newer table (see `ids` of `load_recommender`), or a `SemanticIdTokenizer` that has this table.
          vectors, vector_ids, on_bad_rows: see `load_recommender`.

        Raises:
          UserError: see `load_recommender`.
        """
        from sid_jax.recommend.loading import renewed

        return Recommender.from_trained(renewed(self.trained, ids, vectors, vector_ids, on_bad_rows))

    def save(self, folder: str | Path, *, stablehlo: bool = False, k: int = 10) -> Path:
        """Writes the recommender to a self-contained folder, which `sid_jax.load` reads.

        The folder has the parameters, the ID table, the settings and checksums.

        Args:
          folder: a new or empty folder. It is written atomically.
          stablehlo: whether to also write `recommender.stablehlo`, a program for JAX on CPU, CUDA or TPU, which runs
            without this package. The program returns the lists of `recommend(exact=True)`;
            `sid_jax.recommend.stablehlo.load_lists` loads it.
          k: the length of the program's lists. For a model that generates IDs, k is at most `eval.num_beams`.

        Returns:
          The folder.

        Raises:
          UserError: if the folder is not empty or cannot be written; or, with `stablehlo`, if k is out of range or
            the model is too large.
        """
        from sid_jax.buckets.outputs import output_folder
        from sid_jax.recommend.artifact import write_recommender

        out = output_folder(folder)
        write_recommender(self.trained, out, list_length=k if stablehlo else None)
        return out

    def __repr__(self) -> str:
        """Returns one line: the model's kind, the number of items, and the metrics if the recommender was evaluated."""
        kind = f"kind={self._config.model.kind!r}"
        if self._trained is None:
            return f"{type(self).__name__}({kind}, {len(self.table):,} items, not fitted)"
        figures = "".join(
            f", {name}={self._trained.figures[name]:.4f}"
            for name in ("recall@10", "ndcg@10")
            if name in self._trained.figures
        )
        return f"{type(self).__name__}({kind}, {len(self.table):,} items{figures})"

    def _repr_html_(self) -> str:
        """Returns the HTML for notebooks: the line of `repr`, and the ID table."""
        return f"<code>{html.escape(repr(self))}</code>{self.table._repr_html_()}"

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state for pickling, without the `Server`, which holds device arrays and is rebuilt on demand."""
        return {**self.__dict__, "_server": None}

    def _serve(self) -> Server:
        if self._server is None:
            from sid_jax.recommend.serving import Server

            self._server = Server(self.trained)
        return self._server

    def _set(self, trained: TrainedRecommender) -> None:
        self._trained, self._server = trained, None


class GenerativeRecommender(Recommender):
    """Recommends by generating the Semantic ID of the next item (TIGER, Rajput et al., 2305.05065).

    `fit` trains a transformer on interaction histories. `recommend` runs a beam search over existing IDs, so that only
    items of the table are recommended.

        recommender = GenerativeRecommender(tokenizer).fit(histories)
        recommender.recommend(["sku-7", "sku-42"], k=10)

    Arguments and methods are those of `Recommender`.
    """

    _MODEL = "decoder"


def load_recommender(
    folder: str | Path,
    *,
    ids: str | Path | IdTable | None = None,
    vectors: Any = None,
    vector_ids: str | Path = "",
    on_bad_rows: str | None = None,
    verify: bool = False,
) -> Recommender:
    """Loads a recommender from its folder. Nothing is trained or written, and no training data is needed.

    Args:
      folder: a folder that `Recommender.save` wrote; or the workdir of a finished `sid-jax recommend`, whose
        recommender is in the folder `recommender`.
      ids: a newer version of the ID table, made by `sid-jax export --append_to`. Its new items are cold, and may occur
        in histories. Items that are missing from it are not recommended. None: the table that was used in training.
      vectors: the content vectors of all items that may be recommended: files in the format of a quantizer's
        `config.data.path`; or vectors in memory, as for `Recommender.fit`, where `[N, D]` is in the order of the newer
        ID table. They replace the saved vectors, which do not include new items. None: the saved vectors.
      vector_ids: ids of the vectors in files that have none, in the format of a quantizer's `config.data.ids_path`.
      on_bad_rows: treatment of rows of `vectors` with NaN or infinite values. "error" rejects them. "drop" drops them,
        and raises an error only if an item that may be recommended then has no vector. None: the recommender's setting
        `quantizer.data.on_bad_rows`.
      verify: whether to compare the SHA-256 of every file with the manifest first.

    Raises:
      UserError: if there is no recommender, a file is missing or damaged, `ids` is not a newer version of the
        recommender's table, or `vectors` lacks an item that may be recommended.
    """
    from sid_jax.recommend.loading import read_trained, renewed

    trained = read_trained(folder, verify=verify)
    return Recommender.from_trained(renewed(trained, ids, vectors, vector_ids, on_bad_rows))
