"""Text encoders: the built-in wordllama, a sentence encoder, or the user's own function."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sid_jax.data.text import bert
from sid_jax.errors import UserError, reason

# A function from a list of n texts to an array `[n, D]`.
Encode = Callable[[list[str]], Any]

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
# A text with more characters than this is encoded alone, since a batch is padded to its longest text.
_LONG_TEXT = 4096
# The user appends this to the path of a BERT model's folder, to compute matrix products in mixed precision.
_MIXED = "@bfloat16"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder and its identity.

    Attributes:
      name: the name that the user gave it, for messages.
      identity: key of cached vectors, such as the encoder's name and version. Encoders with the same key give the same
        vectors for the same texts. None if it is unknown; vectors are then not cached.
      load: returns the function that encodes texts; `load` is called only if a text's vector is not cached.
    """

    name: str
    identity: str | None
    load: Callable[[], Encode]


def find_encoder(encoder: str | Encode) -> Encoder:
    """Returns the encoder for a function, or for a value of the setting `text_encoder`.

    Args:
      encoder: one of five forms. (1) "wordllama". (2) The user's own function, which takes a list of n texts and
        returns an array `[n, D]`. (3) The import path of such a function, "module:function". The module may be in the
        current folder. (4) The folder of a BERT model, which runs in JAX. "folder@bfloat16" selects mixed precision.
        (5) The name or folder of any other sentence-transformers model. For a function, the cache key of the vectors
        contains the function's attribute `version` (text or a number). Without this attribute, it contains a digest of
        the source of the function's module.

    Raises:
      UserError: if there is no such encoder.
    """
    if callable(encoder):
        return _function(encoder, getattr(encoder, "__qualname__", type(encoder).__name__))
    if encoder == "wordllama":
        return Encoder(encoder, f"wordllama {importlib.metadata.version('wordllama')}", _wordllama)
    if _IMPORT_PATH.fullmatch(encoder):
        return _function(_imported(encoder), encoder)
    return _sentence_encoder(encoder)


def _sentence_encoder(name: str) -> Encoder:
    """Returns the JAX encoder for the folder of a BERT model, or else the encoder of sentence-transformers."""
    path, mixed = name.removesuffix(_MIXED), name.endswith(_MIXED)
    why, folder = "", Path(path).expanduser()
    if folder.is_dir():
        try:
            settings = bert.read_settings(folder, mixed=mixed)
            return Encoder(name, bert.identity(settings), functools.partial(bert.load_encoder, settings))
        except bert.NotSupportedError as error:
            why = f" that the JAX encoder does not support ({error})"
    if mixed:
        raise UserError(
            f"config.data.text_encoder={name}: {_MIXED} is only for the folder of a BERT model, but {path} is "
            f"{f'a folder{why}' if why else 'not a folder'}; remove {_MIXED}"
        )
    return Encoder(name, _model_identity(name), functools.partial(_sentence_transformers, name, why))


def _wordllama() -> Encode:
    import wordllama

    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def encode(texts: list[str]) -> np.ndarray:
        # Long texts are encoded alone. The vectors are the same, since a text's vector does not depend on its batch.
        vectors = np.empty((len(texts), model.embedding.shape[1]), np.float32)
        short = [row for row, text in enumerate(texts) if len(text) <= _LONG_TEXT]
        vectors[short] = model.embed([texts[row] for row in short])
        for row in sorted(set(range(len(texts))) - set(short)):
            vectors[row] = model.embed([texts[row]])[0]
        return vectors

    return encode


def _sentence_transformers(name: str, why: str) -> Encode:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"config.data.text_encoder={name} is a sentence-transformers model{why}; run pip install 'sid_jax[text]', "
            "or use the built-in wordllama"
        ) from error
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise UserError(
            f"config.data.text_encoder={name}: sentence-transformers cannot load this model ({reason(error)}); give "
            "the name or folder of a model that exists, or use the built-in wordllama"
        ) from error
    return functools.partial(model.encode, convert_to_numpy=True, show_progress_bar=False)


def _model_identity(name: str) -> str:
    """Returns a cache key that contains the library's version, and the model's name or a digest of its folder.

    The digest covers the names, sizes and modification times of the folder's files.
    """
    try:
        version = importlib.metadata.version("sentence-transformers")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return f"sentence-transformers {version} {name}"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = [[str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return f"sentence-transformers {version} {hashlib.sha256(json.dumps(about).encode()).hexdigest()}"


def _imported(path: str) -> Encode:
    module_name, _, name = path.partition(":")
    # As with `python -m`, modules in the current folder can be imported.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # An imported module may raise anything.
        raise UserError(
            f"config.data.text_encoder={path} cannot be imported ({type(error).__name__}: {reason(error)}); it must "
            "be module:function, and the module must be on Python's path"
        ) from error
    if not callable(found):
        raise UserError(f"config.data.text_encoder={path} is of type {type(found).__name__}; it must be a function")
    return found


def _function(encode: Encode, name: str) -> Encoder:
    return Encoder(name, _function_identity(encode), lambda: encode)


def _function_identity(encode: Encode) -> str | None:
    """Returns the function's import path, and its version or a digest of its module's source.

    For a function without a version, returns None if the source is not available, or if the vectors may depend on more
    than the source.
    """
    module = sys.modules.get(getattr(encode, "__module__", None) or "")
    place = f"{getattr(module, '__name__', '')}:{getattr(encode, '__qualname__', type(encode).__name__)}"
    version = getattr(encode, "version", None)
    if isinstance(version, (str, int, float)):
        return f"{place} version {version}"
    # Vectors may also depend on the values in a closure or an object, which are not part of the source.
    if module is None or not inspect.isfunction(encode) or encode.__closure__ or encode.__name__ == "<lambda>":
        return None
    try:
        return f"{place} {hashlib.sha256(inspect.getsource(module).encode()).hexdigest()}"
    except (OSError, TypeError):
        return None
