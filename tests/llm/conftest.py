"""Makes text tokenizers and small language models, and imports the fixture `made`: small exports and their tokens."""

import torch
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tests.tokens.conftest import FIRST_ID, made
from tests.tokens.test_tokenizers import trained

__all__ = ["made"]


def fast_tokenizer(kind="byte-level"):
    """Returns a text tokenizer of FIRST_ID tokens that pads on the left."""
    return PreTrainedTokenizerFast(
        tokenizer_object=trained(kind), eos_token="<s>", unk_token="<unk>", pad_token="<unk>", padding_side="left"
    )


def language_model(*, tied=True, vocab_size=FIRST_ID, seed=0):
    """Returns a Qwen2 model with one layer and random weights."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, bos_token_id=1, eos_token_id=1, pad_token_id=0, tie_word_embeddings=tied,
        initializer_range=0.3,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


class SlowTokenizer(PreTrainedTokenizer):
    """A text tokenizer in pure Python: its tokens are words, and it decodes them with spaces in between."""

    def __init__(self, words=(), lower=False, **kwargs):
        self._vocab = {word: number for number, word in enumerate(["<unk>", *words])}
        self.do_lower_case = lower
        super().__init__(unk_token="<unk>", **kwargs)

    @property
    def vocab_size(self):
        return len(self._vocab)

    def get_vocab(self):
        return {**self._vocab, **self.added_tokens_encoder}

    def _tokenize(self, text):
        return text.split()

    def _convert_token_to_id(self, token):
        return self._vocab.get(token, 0)

    def _convert_id_to_token(self, index):
        return next(word for word, number in self._vocab.items() if number == index)

    def save_vocabulary(self, save_directory, filename_prefix=None):
        return ()
