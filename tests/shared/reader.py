"""A reader at work: a Python of its own that runs what it is told and says what came of it."""

import contextlib
import io
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple
from unittest.mock import patch


class Outcome(NamedTuple):
    """What a reader sees: text, progress bars, and the last line of a traceback."""

    printed: str
    bars: str
    error: str


def run(code, names={}):  # noqa: B006 - what one call defines, the next one sees
    """Run the code in this process, and return its outcome."""
    printed, bars, error = io.StringIO(), io.StringIO(), ""
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(bars):
        try:
            exec(code, names)
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
    return Outcome(printed.getvalue(), bars.getvalue(), error)


class Reader:
    """A child process, because huggingface_hub reads its environment when it is imported."""

    def __init__(self, cache, **environment):
        self.cache = cache
        self.process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own |= {"HF_HOME": str(cache), "CI": ""} | environment
        with patch.dict(os.environ, own, clear=True):
            self.order("from helpers import *")  # takes its time: see `run`

    def order(self, code):
        return self.process.submit(run, code)

    def run(self, code):
        """Run the code, after what was ordered before, and return its outcome."""
        return self.order(code).result()

    def forget(self, hub_id):
        """Take a model out of the cache."""
        shutil.rmtree(self.cache / "hub" / f"models--{hub_id.replace('/', '--')}", True)

    def close(self):
        self.process.shutdown()
