"""Evaluates a language model as a recommender, by the next items that it generates, and compares it with baselines."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sid_jax.errors import UserError
from sid_jax.formats.inputs import enough_histories
from sid_jax.llm.generation import generate_ids
from sid_jax.llm.tasks import as_text, prompt
from sid_jax.llm.tokens import IdTokens
from sid_jax.messages import Messages
from sid_jax.recommend.baselines import ItemKNN, Popularity
from sid_jax.recommend.batch import HistoryBatch
from sid_jax.recommend.data.split import leave_one_out
from sid_jax.recommend.evaluation.evaluate import evaluate
from sid_jax.recommend.evaluation.report import EvaluationReport
from sid_jax.recommend.ranker import first_allowed
from sid_jax.streams import stream_rng

SPLITS, FORMS = ("test", "validation"), ("text", "chat")
# Number of users per batch of the baselines. The language model has its own `batch_size`.
_USERS = 256


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GenerationReport(EvaluationReport):
    """Results of a language model and of baselines; see `EvaluationReport`.

    Attributes:
      invalid: share of the generated IDs that do not exist.
      seconds_per_user: time of the language model per user, including its text tokenizer.
    """

    invalid: float = 0.0
    seconds_per_user: float = 0.0

    def __repr__(self) -> str:
        """Returns one line per recommender, and one line with the language model's invalid IDs and time."""
        speed = f"{self.invalid:.2%} of generated IDs do not exist, {self.seconds_per_user:.3g} s per user"
        return f"{super().__repr__()}\n{self.evaluations[0].name}: {speed}"


def evaluate_generation(
    model: Any,
    tokenizer: Any,
    histories: Any,
    tokens: IdTokens,
    *,
    task: str | Callable[[list[str]], str] = "next_id",
    form: str = "text",
    split: str = "test",
    num_beams: int = 20,
    max_history: int = 20,
    batch_size: int = 32,
    users: int | None = None,
    exclude_seen: bool = True,
    constrained: bool = True,
    on_unknown: str = "error",
    samples: int = 1000,
    seed: int = 0,
    messages: Messages | None = None,
) -> GenerationReport:
    """Evaluates the next items that a model generates, with 95 % bootstrap confidence intervals over users.

    The protocol is the same as in `sid-jax recommend`: each user's last item is the test target, and the item before it
    is the validation target. Popularity and item-kNN are fitted to all earlier items. Recall@k and NDCG@k are computed
    for items; items that share an ID get consecutive ranks. The mean reciprocal rank is computed over lists of 50
    items. With fewer than 50 beams, the lists are shorter, and a target that is not in the list counts as 0.

    Args:
      model: a transformers model that has the tokens of the Semantic IDs.
      tokenizer: the text tokenizer of `model`; None for a model that is trained on IDs alone. The model's input is then
        the token ids of the history's IDs, one ID after another.
      histories: interaction histories of the items in `tokens.table`, see `SemanticIdTokenizer.fit`. Users
        with fewer than 3 interactions are dropped.
      tokens: from `add_tokens`.
      task: "next_id" or "sequence" of `sid-jax llm-data`; or a function that returns a prompt, given the IDs of a
        history as texts, the oldest first.
      form: "text" for plain prompts; "chat" for prompts as user messages in the text tokenizer's chat template.
      split: "test" or "validation".
      num_beams: number of generated IDs per user. A user's list has at most this many items, unless items share IDs.
      max_history: maximum number of items in a prompt. If a history is longer, the prompt has the latest items.
      batch_size: users per call of the model.
      users: number of users, drawn at random; None for all users.
      exclude_seen: whether items of a user's history are excluded from all lists.
      constrained: whether the model is restricted to existing IDs.
      on_unknown: "error" or "drop" for items of histories that are not in the table.
      samples: number of bootstrap samples.
      seed: seed of the draw of users.
      messages: where progress is shown, with the remaining time; None shows no progress.

    Raises:
      UserError: if the value of an argument is not allowed, or the histories cannot be used.
    """
    for name, value, known in (("split", split, SPLITS), ("form", form, FORMS)):
        if value not in known:
            raise UserError(f"{name} is {value!r}; it must be {' or '.join(map(repr, known))}")
    taken, _ = enough_histories(histories, tokens.table, on_unknown)
    assert taken is not None
    parts = leave_one_out(taken)
    examples = parts.test if split == "test" else parts.validation
    rows = np.arange(len(examples.targets))
    if users is not None and users < len(rows):
        rows = np.sort(stream_rng(seed, "evaluate_generation").choice(rows, users, replace=False))
    asked = _LanguageModel(model, tokenizer, tokens, task, form, num_beams, constrained)
    rules: dict[str, Any] = {
        "window": max_history,
        "exclude_seen": exclude_seen,
        "users": rows,
        "messages": messages,
    }
    evaluations = [evaluate(asked, examples, batch_size=min(batch_size, len(rows)), **rules)]
    for baseline in (Popularity(parts.train), ItemKNN.tuned(parts.train)):
        evaluations.append(evaluate(baseline, examples, batch_size=min(_USERS, len(rows)), **rules))
    return GenerationReport(
        tuple(evaluations),
        len(tokens.table),
        samples,
        invalid=asked.num_invalid / max(1, asked.num_generated),
        seconds_per_user=asked.seconds / asked.num_users,
    )


class _LanguageModel:
    """A language model as a `Ranker`. It counts users, generated IDs, IDs that do not exist, and seconds."""

    name = "language model"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        tokens: IdTokens,
        task: str | Callable[[list[str]], str],
        form: str,
        num_beams: int,
        constrained: bool,
    ):
        self._model, self._tokenizer, self._tokens = model, tokenizer, tokens
        self._task, self._form, self._num_beams, self._constrained = task, form, num_beams, constrained
        self.num_users = self.num_generated = self.num_invalid = 0
        self.seconds = 0.0

    def recommend(self, batch: HistoryBatch, count: int, exclude: np.ndarray | None = None) -> np.ndarray:
        """Returns the items of the generated IDs; see `Ranker`."""
        began = time.perf_counter()
        histories = [row[:length] for row, length in zip(batch.items, batch.lengths, strict=True)]
        inputs = _padded([self._encoded(history) for history in histories], not self._model.config.is_encoder_decoder)
        found = generate_ids(
            self._model,
            inputs,
            self._tokens,
            num_beams=self._num_beams,
            constrained=self._constrained,
            exclude=exclude,
        )
        lists = found.rows(count if exclude is None else count + exclude.shape[1])
        kept, _ = first_allowed(lists, np.zeros(lists.shape, np.float32), exclude, count)
        self.seconds += time.perf_counter() - began
        self.num_users += len(histories)
        generated = np.ones(found.exists.shape, bool)
        if self._constrained:
            # If there are fewer allowed IDs than beams, the last beams have no ID.
            generated = np.arange(self._num_beams) < found.num_allowed[:, None]
        self.num_generated += int(generated.sum())
        self.num_invalid += int((generated & ~found.exists).sum())
        return kept

    def _encoded(self, history: np.ndarray) -> list[int]:
        """Returns the token ids of the prompt for a history, which is given as rows of the ID table."""
        if self._tokenizer is None:
            return self._tokens.token_ids[history].ravel().tolist()
        ids = self._tokens.texts.take(history).to_pylist()
        if callable(self._task):
            question = self._task(ids)
        else:
            question = prompt(self._task, history="".join(ids))
            question = question if self._form == "chat" else as_text(self._task, question)
        if self._form == "text":
            return self._tokenizer(question)["input_ids"]
        message = [{"role": "user", "content": question}]
        text = self._tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


def _padded(prompts: list[list[int]], left: bool) -> dict[str, torch.Tensor]:
    """Pads prompts to the length W of the longest one; returns `input_ids` and `attention_mask`, `[B, W]` each.

    Prompts are padded on the left if `left` is true, and otherwise on the right. The text tokenizer's own padding
    settings have no effect.
    """
    ids = np.zeros((len(prompts), max(map(len, prompts))), np.int64)
    mask = np.zeros_like(ids)
    for row, numbers in enumerate(prompts):
        place = slice(ids.shape[1] - len(numbers), None) if left else slice(len(numbers))
        ids[row, place], mask[row, place] = numbers, 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
