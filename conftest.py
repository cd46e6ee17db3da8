"""Set up all tests: notebooks make every timed call once, and compile nothing."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

# No test compares seconds, and torch.compile takes minutes on a CPU; `make notebooks` does both.
STARTUP = """
import gc
import os

gc.disable()
import helpers
from diffusers import StableDiffusionPipeline  # with all that it imports
from helpers import timing

gc.freeze()  # so that collecting garbage, as the helpers do, is fast
gc.enable()
os.environ["TORCH_COMPILE_DISABLE"] = "1"


def measure_once(fn, measure=timing.measure, **options):  # the notebooks use these names, too
    return measure(fn, **options | {"warmup": 0, "repeats": 1})


helpers.measure = timing.measure = measure_once
del gc, os, helpers, timing, measure_once, StableDiffusionPipeline  # notebooks import their own
"""


def pytest_configure(config: pytest.Config) -> None:
    """Give the notebooks' kernels a startup file of IPython, and keep CI's Macs off their GPU."""
    if sys.platform == "darwin" and "CI" in os.environ:
        import torch

        torch.backends.mps.is_available = lambda: False  # found there, but no allocation succeeds
    if config.getoption("nbval", False):
        # Threads that wait for each other otherwise hold the cores that other workers need.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        folder = Path(tempfile.mkdtemp(prefix="ipython-"))
        startup = folder / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "time_once.py").write_text(STARTUP, encoding="utf-8")
        os.environ["IPYTHONDIR"] = str(folder)
