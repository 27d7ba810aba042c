import fsspec
import pytest


@pytest.fixture(autouse=True)
def bucket(monkeypatch, tmp_path):
    """An empty in-memory bucket of fsspec, and an empty cache folder; returns the bucket's file system."""
    monkeypatch.setenv("SID_JAX_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    return store


def write(address, content):
    """Writes bytes or text to the object with this address."""
    with fsspec.open(address, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def names(store, address):
    """Returns the paths of all objects under an address, relative to it."""
    root = store._strip_protocol(address)
    return sorted(path.removeprefix(f"{root}/") for path in store.find(root))
