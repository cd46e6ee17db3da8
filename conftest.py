"""Tests in workers: the longest files first, and a line of progress, however long one takes."""

import threading
import time
from collections.abc import Callable

import pytest

EVERY = 15.0  # seconds
# The files that take a minute and more, so that no worker is left with one of them at the end.
LONGEST = [
    "notebooks/05_faster.ipynb",
    "tests/widgets/test_browser.py",
    "notebooks/02_speed.ipynb",
    "notebooks/04_quality.ipynb",
    "tests/forecast/test_forecast_memory.py",
    "notebooks/06_choose_a_gpu.ipynb",
    "tests/sweeps/test_killed.py",
    "notebooks/solutions/05_faster.ipynb",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the others keep their order, and so do the tests of a file."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def pytest_configure(config: pytest.Config) -> None:
    """Report where workers run the tests; without them, pytest's own -v does."""
    if config.getoption("numprocesses", None):
        config.pluginmanager.register(Progress(), "progress")


class Progress:
    """Says how many tests are done, and which are running for how long."""

    def __init__(self) -> None:
        self.start, self.done, self.ended = time.monotonic(), 0, threading.Event()
        self.running: dict[str, float] = {}  # a test -> when it began

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin to speak."""
        terminal = session.config.pluginmanager.getplugin("terminalreporter")
        threading.Thread(target=self._report, args=(terminal.write_line,), daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note a test that begins."""
        self.running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note a test that ends."""
        del self.running[nodeid]
        self.done += 1

    def pytest_sessionfinish(self) -> None:
        """Fall silent."""
        self.ended.set()

    def _report(self, write_line: Callable[[str], None]) -> None:
        while not self.ended.wait(EVERY):
            now, running = time.monotonic(), list(self.running.items())
            tests = ", ".join(f"{name} for {now - began:.0f} s" for name, began in running)
            line = f"[{now - self.start:.0f} s] {self.done} done; running: {tests or 'none yet'}"
            write_line(line)
