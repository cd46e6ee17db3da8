"""The embedded models, loaded once for all tests."""

import gc
from dataclasses import replace

import pytest

from helpers import MODELS, load_judge, load_pipeline


def pytest_collection_finish():
    """Freeze imported objects, so that collecting garbage, as the helpers do, is fast."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def embedded():
    return load_pipeline("tiny-portraits", device="cpu", dtype="float32")


@pytest.fixture
def pipeline(embedded):
    """The embedded pipeline, given back with the parts it came with."""
    scheduler, vae = embedded.scheduler, embedded.vae
    yield embedded
    embedded.scheduler, embedded.vae = scheduler, vae


@pytest.fixture
def tiny_shape(monkeypatch):
    """The name of a row with random weights in a small architecture, which takes no time."""
    row = replace(MODELS["sd15-shape"], name="tiny-shape", id=MODELS["tiny-portraits"].id)
    monkeypatch.delitem(MODELS, "tiny-portraits")  # a folder belongs to one row
    monkeypatch.setitem(MODELS, row.name, row)
    return row.name


@pytest.fixture(scope="session")
def judge():
    return load_judge("tiny-judge", device="cpu")
