"""The benchmark: notebooks are run with a model, and what they measure is kept for each machine."""

import json

import nbformat
import pytest

from tools import benchmark

CELL = """
import os
from helpers.timing import measure
measure(lambda: [0, 0], device="cpu", label=os.environ["TUTORIAL_MODEL"], num_inference_steps=20)
measure(lambda: None, device="cpu", label="again")
"""
ROW = {"notebook": "06_faster", "images": 1, "device": "GPU", "versions": {}, "speedup": None}


def write_notebook(folder, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "lesson.ipynb")
    return folder / "lesson.ipynb"


def test_measurements_of_a_notebook_are_kept(tmp_path):
    path = write_notebook(tmp_path, CELL)
    before = path.read_bytes()
    rows = benchmark.run_notebook(path, "sd15-shape")
    assert path.read_bytes() == before
    assert [(row["label"], row["images"]) for row in rows] == [("sd15-shape", 2), ("again", 1)]
    path = benchmark.write_results("sd15-shape", rows, tmp_path / "results")
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["machine"] == rows[-1]["device"] and "torch" in kept["versions"]
    assert [row["num_inference_steps"] for row in kept["measurements"]] == [20, None]


def test_each_machine_has_a_row(tmp_path):
    for machine, speedup in {"CPU 1": 4.0, "GPU 2": 8.0}.items():
        row = ROW | {"device": machine}
        recipe = row | {"label": "recipe", "seconds": 1.0}
        batch = row | {"label": "all together", "seconds": 2.0, "images": 4, "speedup": speedup}
        benchmark.write_results("mine", [recipe, batch], tmp_path)
    assert benchmark.make_table(tmp_path).splitlines()[2:] == [
        "| CPU 1 | mine |  | 1.00 s |  | 0.50 s (4.0) |",
        "| GPU 2 | mine |  | 1.00 s |  | 0.50 s (8.0) |",
    ]


def test_the_readme_has_the_table_of_the_results():
    text = benchmark.README.read_text(encoding="utf-8")
    assert benchmark.insert_table(text, benchmark.make_table()) == text
    assert f"| {benchmark.COLUMNS['all together']} |" in text


def test_the_notebook_measures_what_the_table_shows():
    text = (benchmark.ROOT / "notebooks/06_faster.ipynb").read_text(encoding="utf-8")
    assert all(f'\\"{label}\\"' in text for label in benchmark.COLUMNS)


def test_earlier_notebooks_are_kept_if_a_later_one_fails(tmp_path, monkeypatch):
    def run(path, model):
        if path.stem == benchmark.NOTEBOOKS[-1]:
            raise RuntimeError("no more")
        assert path.exists()
        return [ROW | {"label": model, "seconds": 1.0}]

    monkeypatch.setattr(benchmark, "run_notebook", run)
    monkeypatch.setattr(benchmark.write_results, "__defaults__", (tmp_path,))
    monkeypatch.setattr("sys.argv", ["benchmark", "--model", "mine"])
    with pytest.raises(RuntimeError, match="no more"):
        benchmark.main()
    (path,) = tmp_path.iterdir()
    assert len(json.loads(path.read_text(encoding="utf-8"))["measurements"]) == 2
