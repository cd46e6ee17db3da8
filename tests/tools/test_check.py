"""`make check`: what it says on a machine that is not ready."""

import importlib.metadata
from types import SimpleNamespace

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from tools import check


def test_all_checks_run_though_some_fail(capsys):
    def broken():
        raise OSError("the disk is on fire")

    assert check.main((broken, check.check_packages, broken)) == 2
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == third == "[failed] the disk is on fire"
    assert second.startswith("[ok] Python ")
    assert last == "2 of 3 checks failed."


def test_a_missing_package_and_an_old_one(monkeypatch):
    found = [item for item in importlib.metadata.distributions() if item.name != "peft"]
    found.append(SimpleNamespace(name="diffusers", version="0.1"))
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    with pytest.raises(RuntimeError, match=r"diffusers is 0\.1, not .*; peft is missing, not"):
        check.check_packages()


def test_the_kernel_of_another_python(monkeypatch, tmp_path):
    spec = SimpleNamespace(argv=[str(tmp_path / "python3")])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    with pytest.raises(RuntimeError, match="start JupyterLab with `make lab`"):
        check.check_kernel()


def test_a_black_image(monkeypatch, pipeline):
    monkeypatch.setattr("helpers.load_pipeline", lambda: pipeline)
    monkeypatch.setattr(pipeline.vae, "decode", lambda latents, **_: (latents[:, :3] * 0 - 1,))
    with pytest.raises(RuntimeError, match="The image is black"):
        check.check_model()
