"""The benchmark: notebooks are run at a size, and what they measured is kept by machine."""

import json
from functools import partial

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tools import benchmark

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


def test_a_notebook_that_fails_says_where(notebook):
    page = nbformat.read(notebook, as_version=4)
    page.cells.append(nbformat.v4.new_code_cell("1 / 0"))
    nbformat.write(page, notebook)
    with pytest.raises(CellExecutionError, match="1 / 0"):
        benchmark.run_notebooks("sd15-shape", [notebook])


def test_nothing_measured_is_no_result(tmp_path):
    with pytest.raises(ValueError, match="Nothing was measured"):
        benchmark.write_results("mine", [], tmp_path)


ONE = {
    "notebook": "05_faster",
    "images": 1,
    "device": "GPU",
    "versions": {},
    "peak_memory": None,
    "times_faster": None,
}


def test_seconds_are_an_images_and_ratios_are_those_that_were_measured(tmp_path):
    figures = [
        ONE | {"label": "slow", "seconds": 8.0, "peak_memory": 2 * 10**9},
        ONE | {"label": "batch", "seconds": 8.0, "images": 4, "times_faster": 3.5},
    ]
    benchmark.write_results("mine", figures, tmp_path)
    table = benchmark.read_results(tmp_path).set_index("measurement")
    assert table["seconds per image"].tolist() == [8, 2]
    assert table["times faster"].dropna().to_dict() == {"batch": 3.5}
    assert table["peak memory (GB)"]["slow"] == 2


def test_the_road_of_each_machine_is_a_line_of_the_table(tmp_path):
    recipe, fastest = ONE | {"label": "recipe", "seconds": 1.0}, ONE | {"label": "all together"}
    for machine, times in {"CPU 1": 4.0, "GPU 2": 8.0}.items():
        figures = [recipe, fastest | {"seconds": 1 / times, "times_faster": times}]
        figures = [one | {"device": machine} for one in figures]
        benchmark.write_results("mine", figures, tmp_path)
    lines = benchmark.tabulate_road(tmp_path).splitlines()
    assert lines[2:] == [
        "| CPU 1 | mine |  | 1.00 s |  | 0.25 s (4.0) |",
        "| GPU 2 | mine |  | 1.00 s |  | 0.12 s (8.0) |",
    ]


def test_the_readme_holds_the_table_of_the_results_that_are_kept():
    text = benchmark.README.read_text(encoding="utf-8")
    assert benchmark.with_table(text, benchmark.tabulate_road()) == text
    assert "| and four-step weights |" in text


def test_the_table_finds_its_labels_in_the_notebook():
    text = (benchmark.ROOT / "notebooks" / "05_faster.ipynb").read_text(encoding="utf-8")
    for label in benchmark.ROAD:
        assert f'\\"{label}\\"' in text


def test_what_was_measured_is_kept_if_a_later_notebook_fails(tmp_path, monkeypatch):
    def run(model, notebooks):
        if "05_faster" in str(notebooks[0]):
            raise RuntimeError("no more")
        return [ONE | {"label": model, "seconds": 1.0}]

    monkeypatch.setattr(benchmark, "run_notebooks", run)
    monkeypatch.setattr(
        benchmark, "write_results", partial(benchmark.write_results, folder=tmp_path)
    )
    monkeypatch.setattr("sys.argv", ["benchmark", "--model", "mine"])
    with pytest.raises(RuntimeError, match="no more"):
        benchmark.main()
    assert benchmark.read_results(tmp_path)["measurement"].tolist() == ["mine", "mine"]


def test_no_results_yet(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make benchmark` first"):
        benchmark.read_results(tmp_path)


def test_every_notebook_that_is_run_is_there():
    for name in benchmark.MEASURED:
        assert (benchmark.ROOT / "notebooks" / f"{name}.ipynb").is_file()
