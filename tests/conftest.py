"""The embedded models, loaded once for all tests."""

import pytest

from helpers import load_judge, load_pipeline


def pytest_addoption(parser):
    parser.addoption("--screenshot", help="where to save a picture of the playground")


@pytest.fixture(scope="session")
def embedded():
    return load_pipeline("tiny-portraits", device="cpu", dtype="float32")


@pytest.fixture
def pipeline(embedded):
    """The embedded pipeline, given back with the scheduler it came with."""
    scheduler = embedded.scheduler
    yield embedded
    embedded.scheduler = scheduler


@pytest.fixture(scope="session")
def judge():
    return load_judge("tiny-judge", device="cpu")
