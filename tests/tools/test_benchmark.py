"""The benchmark: a notebook is run with a model, and each machine has a row in the README."""

import nbformat
import pytest

from tools import benchmark

CELL = """
import os
from helpers.timing import measure
measure(lambda: [0, 0], device="cpu", label=os.environ["TUTORIAL_MODEL"])
"""
TABLE = "text\n| machine | model | times |\n| --- | --- | --- |\n<!-- end of results -->\nmore\n"


def test_measurements_of_a_notebook_are_kept(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    (row,) = benchmark.run_notebook(tmp_path / "lesson.ipynb", "sd15-shape")
    assert (row["label"], row["images"]) == ("sd15-shape", 2)


def test_each_machine_has_one_row():
    text = TABLE
    for machine, seconds in (("CPU", 1.0), ("GPU", 2.0), ("CPU", 3.0)):
        row = {"label": "20 steps", "seconds": seconds, "images": 2, "device": machine}
        text = benchmark.add_row(text, benchmark.make_row("mine", [row]))
    assert text.splitlines()[3:5] == [
        "| GPU | mine |  | 1.00 s |  |  |", "| CPU | mine |  | 1.50 s |  |  |",
    ]  # fmt: skip
    assert text.startswith("text\n") and text.endswith("<!-- end of results -->\nmore\n")
    with pytest.raises(ValueError, match="Nothing was measured"):
        benchmark.make_row("mine", [])


def test_the_notebook_measures_what_the_readme_shows():
    text = benchmark.NOTEBOOK.read_text(encoding="utf-8")
    assert all(f'\\"{label}\\"' in text for label in benchmark.LABELS)
    assert benchmark.END in benchmark.README.read_text(encoding="utf-8").splitlines()
