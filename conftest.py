"""Set up all tests: notebooks make every timed call once, as no test compares seconds."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

STARTUP = """
from helpers import timing

take_turns = timing.take_turns


def take_one_turn(fn, baseline, device, warmup, repeats):
    return take_turns(fn, baseline, device, 0, 1) * repeats


timing.take_turns = take_one_turn
"""


def pytest_configure(config: pytest.Config) -> None:
    """Give the notebooks' kernels a startup file of IPython, and keep CI's Macs off their GPU."""
    if sys.platform == "darwin" and "CI" in os.environ:
        import torch

        torch.backends.mps.is_available = lambda: False  # found there, but no allocation succeeds
    if config.getoption("nbval", False):
        folder = Path(tempfile.mkdtemp(prefix="ipython-"))
        startup = folder / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "time_once.py").write_text(STARTUP, encoding="utf-8")
        os.environ["IPYTHONDIR"] = str(folder)
