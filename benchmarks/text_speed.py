"""Speed of text encoding with a BERT model: sid_jax in float32 and mixed precision, and sentence-transformers.

python benchmarks/text_speed.py --threads=1 --json=texts.json

Without `--model`, the model has the shape of all-MiniLM-L6-v2 and random weights. The texts are synthetic. They have 8
to 224 words, with a median of about 36, like product titles with their categories. The script also prints how much the
vectors of sid_jax differ from the vectors of sentence-transformers for the same texts. This script needs the `bert` and
`text` extras.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from contest import Contestant, Round, contest, report

# The sizes of all-MiniLM-L6-v2, except the vocabulary size. The vocabulary here is smaller, which does not affect the
# time of a look-up.
_SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
_WORDS, _TOKENS = 8192, 256


def main() -> None:
    """Prints one row per implementation, and the differences between vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="the folder of a BERT model; default: a model with random weights")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="number of CPU cores, and of PyTorch threads"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: arguments.threads]))
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or make_model(Path(folder))
        given = (str(model), arguments.texts)
        contestants = {
            "sid_jax": Contestant(prepare_ours, given),
            "sid_jax, bfloat16": Contestant(prepare_ours, (f"{model}@bfloat16", arguments.texts)),
            "sentence-transformers": Contestant(prepare_torch, (*given, arguments.threads)),
        }
        results = contest(contestants, arguments.rounds)
        report(f"{arguments.texts} texts, {arguments.threads} threads", results, None, arguments.json, vars(arguments))
        print_differences(*given)


def prepare_ours(model: str, num_texts: int) -> Round:
    """Returns a function that encodes all texts with sid_jax once."""
    from sid_jax.data.text.encoders import find_encoder

    encode, texts = find_encoder(model).load(), make_texts(num_texts)

    def run() -> int:
        encode(texts)
        return num_texts

    return run


def prepare_torch(model: str, num_texts: int, threads: int) -> Round:
    """Returns a function that encodes all texts with sentence-transformers once, in its own batches."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    encoder, texts = SentenceTransformer(model, device="cpu"), make_texts(num_texts)

    def run() -> int:
        encoder.encode(texts, show_progress_bar=False)
        return num_texts

    return run


def print_differences(model: str, num_texts: int) -> None:
    """Prints the largest difference and the lowest cosine between vectors of sid_jax and of sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    from sid_jax.data.text.encoders import find_encoder

    texts = make_texts(num_texts)
    theirs = SentenceTransformer(model, device="cpu").encode(texts, show_progress_bar=False)
    for name in (model, f"{model}@bfloat16"):
        ours = find_encoder(name).load()(texts)
        cosines = np.sum(ours * theirs, 1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        precision = "bfloat16" if name != model else "float32"
        print(f"{precision}: differs by at most {np.abs(ours - theirs).max():.1e}, cosine at least {cosines.min():.6f}")


def make_texts(number: int) -> list[str]:
    """Returns texts of random words, with lengths similar to those of the texts of Amazon products."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(36), 0.25, number), 8, 224).astype(int)
    return [" ".join(f"word{word}" for word in random.integers(0, _WORDS, length)) for length in lengths]


def make_model(folder: Path) -> Path:
    """Writes a model with random weights in the format of sentence-transformers, and returns the folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: place for place, word in enumerate([*special, *(f"word{word}" for word in range(_WORDS))])}
    BertModel(BertConfig(vocab_size=len(vocabulary), **_SHAPE)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(word, vocabulary[word]) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=_TOKENS, **names).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": _TOKENS}))
    return folder


if __name__ == "__main__":
    main()
