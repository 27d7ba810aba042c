"""A service for an export and a recommender: look-ups, codes of new items, recommendations, and reloads of the export.

RECOMMENDER=exports/recommender CATALOG=exports/latest uvicorn --app-dir examples/serve service:app

`CATALOG` is an export, or a link to the newest one. If the link now leads to another export, `POST /reload` reads this
export and replaces the version in use. Meanwhile, other requests are answered. Do not expose `/reload` to the public.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

import sid_jax
from sid_jax import lite
from sid_jax.recommender import Recommender

# Maximum number of users per compiled call. The library pads a batch of 2 to 15 users to 16.
TOGETHER = 16
# Lengths of the lists that the recommender computes. A shorter list is the beginning of one of them, so only these two
# lengths are compiled.
LENGTHS = (10, 100)
Item = int | str


class History(BaseModel):
    """A user's history, the oldest item first, and the number of requested items."""

    history: Annotated[list[Item], Field(max_length=1_000)]
    k: Annotated[int, Field(ge=1, le=LENGTHS[-1])] = LENGTHS[0]


class Vector(BaseModel):
    """The vector of an item, which may be new."""

    vector: list[float]


@dataclasses.dataclass(frozen=True)
class Catalog:
    """One version of the export; a request uses the same version from beginning to end."""

    name: str
    digest: str
    tokenizer: lite.LiteTokenizer
    recommender: Recommender

    @classmethod
    def read(cls, recommender: Recommender, folder: Path) -> Catalog:
        """Reads an export, and compiles all programs that requests need."""
        folder = folder.resolve()
        catalog = cls(folder.name, _digest(folder), lite.load(folder), recommender.with_catalog(folder))
        catalog.tokenizer.table.items(())
        window = recommender.config.model.window
        items = recommender.table.item_ids[: 2 * window].tolist()
        # The library compiles one program for short histories, one for histories of up to `window` items, and others
        # for longer histories, since more seen items are then excluded from the recommendations.
        for length, size, k in itertools.product((1, window, 2 * window), (1, TOGETHER), LENGTHS):
            catalog.recommender.recommend_batch([items[:length]] * size, k)
        return catalog


class Service:
    """The version in use, and the queue of users who wait for recommendations."""

    def __init__(self, recommender: Path, catalog: Path):
        trained = sid_jax.load(recommender)
        assert isinstance(trained, Recommender), f"{recommender} does not contain a recommender"
        self._trained, self._folder, self._reloading = trained, catalog, threading.Lock()
        self.catalog = Catalog.read(trained, catalog)
        self._waiting: asyncio.Queue[tuple[History, asyncio.Future[dict]]] = asyncio.Queue()

    def reload(self) -> Catalog:
        """Replaces the version in use if the newest one is another export; returns the version that is then in use.

        Requests in progress finish with the old version.
        """
        with self._reloading:
            if _digest(self._folder) != self.catalog.digest:
                self.catalog = Catalog.read(self._trained, self._folder)
            return self.catalog

    async def recommend(self, asked: History) -> dict:
        """Returns a user's recommendations, after waiting in the queue."""
        answer: asyncio.Future[dict] = asyncio.get_running_loop().create_future()
        await self._waiting.put((asked, answer))
        return await answer

    async def answer(self) -> None:
        """Answers users in a loop; users who arrive during a call are answered together in the next call."""
        while True:
            users = [await self._waiting.get()]
            while len(users) < TOGETHER and not self._waiting.empty():
                users.append(self._waiting.get_nowait())
            histories, answers = zip(*users, strict=True)
            try:
                found = await asyncio.to_thread(_recommend, self.catalog, histories)
            except Exception as error:  # Catch every error, since later users must still be answered.
                found = [error] * len(users)
            for each, answer in zip(found, answers, strict=True):
                if answer.cancelled():
                    continue
                if isinstance(each, Exception):
                    answer.set_exception(each)
                else:
                    answer.set_result(each)


def _digest(folder: Path) -> str:
    """Returns the digest in an export's manifest, or the folder's name if the manifest has no digest."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest.get("digest", folder.resolve().name)


def _recommend(catalog: Catalog, asked: tuple[History, ...]) -> list[dict]:
    longest = max(each.k for each in asked)
    k = next(length for length in LENGTHS if length >= longest)
    lists = catalog.recommender.recommend_batch([each.history for each in asked], k)
    return [
        {"catalog": catalog.name, "items": [dataclasses.asdict(item) for item in items[: each.k]]}
        for each, items in zip(asked, lists, strict=True)
    ]


def make_app(recommender: Path, catalog: Path) -> FastAPI:
    """Returns the service for the folders of a recommender and an export."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = await asyncio.to_thread(Service, recommender, catalog)
        answering = asyncio.create_task(app.state.service.answer())
        yield
        answering.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.get("/health")
    async def health(request: Request) -> dict:
        serving: Catalog = request.app.state.service.catalog
        return {"catalog": serving.name, "items": len(serving.tokenizer.table)}

    @app.get("/items/{item}")
    async def item(item: str, request: Request) -> dict:
        table = request.app.state.service.catalog.tokenizer.table
        for each in (item, int(item) if item.isdecimal() else item):
            with contextlib.suppress(KeyError):
                return {"item_id": each, "semantic_id": table.semantic_id(each)}
        raise HTTPException(404, f"there is no item {item}")

    @app.post("/encode")
    def encode(asked: Vector, request: Request) -> dict:
        tokenizer = request.app.state.service.catalog.tokenizer
        try:
            vector = np.array(asked.vector, np.float32)
            return {"codes": tokenizer.encode(vector).tolist(), "free_id": tokenizer.free_id(vector)}
        except ValueError as error:
            raise HTTPException(422, str(error)) from error

    @app.post("/recommend")
    async def recommend(asked: History, request: Request) -> dict:
        return await request.app.state.service.recommend(asked)

    @app.post("/reload")
    def reload(request: Request) -> dict:
        try:
            return {"catalog": request.app.state.service.reload().name}
        except (sid_jax.UserError, ValueError, OSError) as error:
            raise HTTPException(409, f"the current version stays in use: {error}") from error

    return app


if "RECOMMENDER" in os.environ:
    app = make_app(Path(os.environ["RECOMMENDER"]), Path(os.environ["CATALOG"]))
