"""`make check`: what it says of a machine that is not ready."""

import collections
import importlib.metadata
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from tools import check


def broken():
    raise OSError("the disk is on fire")


def test_every_check_is_run_and_each_failure_is_a_line(capsys):
    assert check.main((broken, check.python, broken)) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[2] == "[--] broken: the disk is on fire"
    assert lines[1].startswith("[ok] Python ")


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 2))
    with pytest.raises(RuntimeError, match=r"Python 3\.10\.2 is too old: install 3\.11"):
        check.python()


def test_a_package_that_is_missing_and_one_that_is_too_old(monkeypatch):
    version = importlib.metadata.version

    def fake(name):
        if name == "peft":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "diffusers" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", fake)
    with pytest.raises(RuntimeError, match=r"diffusers \(0\.1, needed .*peft \(none, needed"):
        check.packages()


def test_a_kernel_of_another_python(monkeypatch, tmp_path):
    spec = SimpleNamespace(argv=[str(tmp_path / "python3")])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    with pytest.raises(RuntimeError, match="not this Python: start JupyterLab by `make lab`"):
        check.kernel()


def test_a_full_disk(monkeypatch):
    usage = collections.namedtuple("Usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**8))
    with pytest.raises(RuntimeError, match=r"Only 0\.1 GB are free here"):
        check.disk()


def test_a_machine_without_chromium_is_ready_and_told_what_it_misses(monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert check.browser().startswith("no Chromium: only the tests of the playground")


def test_a_browser_that_is_named_and_missing(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "netscape")
    with pytest.raises(FileNotFoundError, match="CHROMIUM names netscape, which is not installed"):
        check.browser()


@pytest.mark.parametrize(("status", "said"), [(0, "tested in Chromium 1"), (1, "does not start")])
def test_a_browser_that_starts_and_one_that_does_not(monkeypatch, status, said):
    ended = SimpleNamespace(returncode=status, stdout="Chromium 1\n", stderr="no display\n")
    monkeypatch.setenv("CHROMIUM", sys.executable)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    try:
        line = check.browser()
    except RuntimeError as error:
        line = str(error)
    assert said in line


def test_a_model_that_is_not_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(check, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="model_index"):
        check.picture()
