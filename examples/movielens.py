"""MovieLens-100K, from texts and ratings to recommendations with titles.

python examples/movielens.py

The data belong to GroupLens and are for research use. They are downloaded at their first use; docs/movielens.md has the
details.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sid_jax
from sid_jax.data.catalogs.movielens.sources import load_movielens
from sid_jax.data.text.encode import encode_texts

# Toy Story, Aladdin and The Lion King.
HISTORY = [1, 95, 71]


def main(folder: str = "exports/movielens", quantizer: dict[str, Any] | None = None, **settings: Any) -> None:
    """Trains a quantizer on texts with the settings `quantizer`, and a recommender on ratings with `settings`."""
    if Path(folder).exists():
        raise SystemExit(f"{folder} exists; remove it first")
    movies = load_movielens()
    items = movies.items
    texts = [
        f"{title} ({year}). {genres.replace('|', ', ')}"
        for title, year, genres in zip(items["title"], items["year"], items["genres"], strict=True)
    ]
    vectors = encode_texts(texts, "wordllama")  # [1682, 256], by the built-in text encoder

    tokenizer = sid_jax.SemanticIdTokenizer(**{"codebook_size": 128, **(quantizer or {})})
    tokenizer.fit(vectors, items["item_id"], columns={"title": items["title"]})
    recommender = sid_jax.Recommender(tokenizer, "ml100k", **settings)
    recommender.fit(histories_of(movies.ratings), vectors=vectors)

    titles = dict(zip(tokenizer.table.item_ids.tolist(), tokenizer.table.titles, strict=True))
    print("After", ", ".join(titles[item] for item in HISTORY))
    for movie in recommender.recommend(HISTORY, k=5):
        print(f"  {movie.title} ({movie.score:.2f})")
    print(recommender.evaluate())
    recommender.save(folder)


def histories_of(ratings: dict[str, Any]) -> dict[int, list[int]]:
    """Returns each user's movies in time order, from ratings that are sorted by user and time."""
    histories: dict[int, list[int]] = {}
    for user, movie in zip(ratings["user_id"].tolist(), ratings["item_id"].tolist(), strict=True):
        histories.setdefault(user, []).append(movie)
    return histories


if __name__ == "__main__":
    main()
