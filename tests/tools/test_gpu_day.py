"""A day at a GPU, rehearsed on a CPU: what is measured is kept beside what was forecast."""

import json

import pytest

from tools.gpu_day import keep, main


def test_a_rehearsal_on_a_cpu(tmp_path, capsys):
    options = ["--model", "tiny-portraits", "--device", "cpu", "--batches", "1", "2"]
    main([*options, "--parts", "seconds", "memory", "--out", str(tmp_path)])
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert [row["batch_size"] for row in kept["seconds"]] == [1, 2]
    assert all(row["seconds"] > 0 and row["by rates measured here"] for row in kept["seconds"])
    settings = [(row["batch_size"], row["vae_slicing"]) for row in kept["memory"]]
    assert settings == [(1, False), (2, False), (1, True), (2, True)]
    for row in kept["memory"]:
        assert row["forecast"]["tensors"] == pytest.approx(row["tensors"], rel=0.05)
    assert f"Written: {path}" in capsys.readouterr().out


def test_what_is_done_is_kept_when_the_rest_fails(tmp_path):
    path = tmp_path / "here.json"

    def rows():
        yield {"batch_size": 1}
        raise RuntimeError("the machine was taken away")

    keep(path, "memory", [{"batch_size": 4}])
    with pytest.raises(RuntimeError):
        keep(path, "seconds", rows())
    assert json.loads(path.read_text()) == {
        "memory": [{"batch_size": 4}],
        "seconds": [{"batch_size": 1}],
    }
