"""A reader at work: a Python of its own that runs what it is told and says what came of it."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """What a reader sees: text, progress bars, and the last line of a traceback."""

    printed: str
    bars: str
    error: str


class Reader:
    """A child process, because huggingface_hub reads its environment when it is imported."""

    def __init__(self, cache, **environment):
        self.cache = cache
        own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own |= {"HF_HOME": str(cache), "PYTHONPATH": str(ROOT), "CI": ""} | environment
        command = [sys.executable, "-u", __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=own, text=True, **pipes)
        self.order("from helpers import *")  # takes its time: see `run`

    def order(self, code):
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def run(self, code):
        """Run the code, after what was ordered before, and return its outcome."""
        self.order(code)
        self.order("")  # whatever stands before this answer was asked for
        outcome = Outcome("", "", "")
        for line in self.process.stdout:
            if line == "\n":
                return outcome
            outcome = Outcome(*json.loads(line))
        raise AssertionError("the reader has left")

    def forget(self, hub_id):
        """Take a model out of the cache."""
        shutil.rmtree(self.cache / "hub" / f"models--{hub_id.replace('/', '--')}", True)

    def close(self):
        self.process.kill()
        self.process.communicate()


def main():
    answers, names = sys.stdout, {}
    for line in sys.stdin:
        code = json.loads(line)
        if not code:
            print(file=answers)
            continue
        printed, bars, error = io.StringIO(), io.StringIO(), ""
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(bars):
            try:
                exec(code, names)
            except Exception as problem:
                error = f"{type(problem).__name__}: {problem}"
        print(json.dumps([printed.getvalue(), bars.getvalue(), error]), file=answers)


if __name__ == "__main__":
    main()
