"""The benchmark: notebooks are run at a size, and what they measured is kept by machine."""

import json

import nbformat
import pytest

from helpers import benchmark

CELL = """
import os
from helpers.timing import measure
measure(lambda: [0, 0], label=os.environ["TUTORIAL_MODEL"], num_inference_steps=20)
measure(lambda: None, label="again")
"""


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "page.ipynb"
    cells = [nbformat.v4.new_code_cell(CELL)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_notebook_is_run_at_the_size_and_what_it_measured_is_kept(notebook, tmp_path):
    before = notebook.read_bytes()
    figures = benchmark.run_notebooks("sd15-shape", [notebook])
    assert notebook.read_bytes() == before
    assert [(one["label"], one["images"]) for one in figures] == [("sd15-shape", 2), ("again", 1)]
    assert figures[0]["notebook"] == "page"
    assert figures[0]["seconds"] >= 0

    path = benchmark.write_results("sd15-shape", figures, tmp_path / "results")
    kept = json.loads(path.read_text())
    assert kept["model"] == "sd15-shape"
    assert kept["machine"] == figures[-1]["device"]
    assert "torch" in kept["versions"]
    assert [one["num_inference_steps"] for one in kept["measurements"]] == [20, None]


def test_a_notebook_that_fails_writes_nothing(notebook, monkeypatch):
    monkeypatch.setattr("nbclient.NotebookClient.execute", lambda *args, **options: None)
    with pytest.raises(ValueError, match="Nothing was measured"):
        benchmark.write_results("mine", benchmark.run_notebooks("mine", [notebook]))


def test_seconds_are_an_images_and_ratios_a_notebooks_own(tmp_path):
    one = {"images": 1, "device": "GPU", "versions": {}, "peak_memory": None}
    figures = [
        one | {"notebook": "01", "label": "slow", "seconds": 8.0, "peak_memory": 2 * 10**9},
        one | {"notebook": "01", "label": "batch", "seconds": 8.0, "images": 4},
        one | {"notebook": "02", "label": "other", "seconds": 1.0},
    ]
    benchmark.write_results("mine", figures, tmp_path)
    table = benchmark.read_results(tmp_path).set_index("measurement")
    assert table["seconds per image"].tolist() == [8, 2, 1]
    assert table["times faster"].tolist() == [1, 4, 1]
    assert table["peak memory (GB)"]["slow"] == 2


def test_no_results_yet(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make benchmark` first"):
        benchmark.read_results(tmp_path)


def test_every_notebook_that_is_run_is_there():
    for name in benchmark.MEASURED:
        assert (benchmark.ROOT / "notebooks" / f"{name}.ipynb").is_file()
