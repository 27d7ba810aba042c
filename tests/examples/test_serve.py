"""The service in examples/serve answers while its version changes, and each answer names the version that it used."""

from __future__ import annotations

import importlib
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient
from flax import nnx

from sid_jax import lite, load
from sid_jax.recommend.artifact import TrainedRecommender, named_params, write_recommender
from sid_jax.recommend.config import default_config
from sid_jax.recommend.data.candidates import Candidates
from sid_jax.recommend.models import build_model
from tests.append.conftest import SIZES, made_vectors, make_export
from tests.commands import ROOT


@pytest.fixture(scope="module")
def service():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples" / "serve")
        return importlib.import_module("service")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with an untrained recommender, two versions of its export, and a link to the first version."""
    folder = tmp_path_factory.mktemp("serve")
    export = make_export(folder / "v1", list(range(30)), made_vectors(range(30)))
    load(export).append([40, 41], made_vectors([40, 41])).save(folder / "v2")
    config = default_config()
    small = {"kind": "scorer", "features": 8, "num_layers": 1, "num_heads": 2, "hidden": 8, "window": 4, "members": 1}
    config.model.update(small)
    candidates = Candidates.of(load(export).table, np.ones(30, np.int64), np.zeros(30, bool), SIZES)
    params = named_params(nnx.state(build_model(config, candidates), nnx.Param))
    write_recommender(TrainedRecommender(config, candidates, params, 1), folder / "recommender")
    (folder / "latest").symlink_to("v1")
    return folder


def test_nothing_is_lost_while_the_catalog_changes(service, folders):
    answers, over = [], threading.Event()
    with TestClient(service.make_app(folders / "recommender", folders / "latest")) as client:

        def ask(first):
            while not over.is_set():
                answers.append(client.post("/recommend", json={"history": [first, 5, "nobody"], "k": 3}))

        assert client.get("/health").json() == {"catalog": "v1", "items": 30}
        assert client.get("/items/40").status_code == 404
        askers = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
        for asker in askers:
            asker.start()
        (folders / "next").symlink_to("v2")
        (folders / "next").rename(folders / "latest")
        assert client.post("/reload").json() == {"catalog": "v2"}
        assert client.post("/recommend", json={"history": []}).json()["catalog"] == "v2"
        over.set()
        for asker in askers:
            asker.join()
        assert {each.status_code for each in answers} == {200}
        assert all(len(each.json()["items"]) == 3 for each in answers)
        assert {each.json()["catalog"] for each in answers} >= {"v1"}
        table = load(folders / "v2").table
        assert client.get("/items/40").json() == {"item_id": 40, "semantic_id": list(table.semantic_id(40))}
        vector = made_vectors([50])[0]
        found, tokenizer = client.post("/encode", json={"vector": vector.tolist()}).json(), lite.load(folders / "v2")
        assert found == {"codes": tokenizer.encode(vector).tolist(), "free_id": list(tokenizer.free_id(vector))}
        # Another export with the same name in another folder is read too.
        (folders / "older").mkdir()
        (folders / "older" / "v2").symlink_to(folders / "v1")
        (folders / "next").symlink_to(folders / "older" / "v2")
        (folders / "next").rename(folders / "latest")
        assert client.post("/reload").json() == {"catalog": "v1"}
        (folders / "next").symlink_to("v2")
        (folders / "next").rename(folders / "latest")
        assert client.post("/reload").json() == {"catalog": "v2"}
        # Invalid requests and an invalid export change nothing.
        assert client.post("/encode", json={"vector": [1.0]}).status_code == 422
        assert client.post("/recommend", json={"history": [1], "k": 0}).status_code == 422
        (folders / "next").symlink_to("nowhere")
        (folders / "next").rename(folders / "latest")
        refused = client.post("/reload")
        assert refused.status_code == 409 and "the current version stays in use" in refused.json()["detail"]
        assert client.get("/health").json() == {"catalog": "v2", "items": 32}
