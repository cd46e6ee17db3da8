"""The benchmark: a notebook is run with a model, and each machine has a row in the README."""

import nbformat

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
    [(label, seconds, device)] = benchmark.run_notebook(tmp_path / "lesson.ipynb", "sd15-shape")
    assert label == "sd15-shape" and seconds > 0 and "CPU" in device


def test_each_machine_has_one_row():
    text = TABLE
    for machine, seconds in (("CPU", 1.0), ("GPU", 2.0), ("CPU", 3.0)):
        row = benchmark.make_row("mine", [("20 steps", seconds, machine)])
        text = benchmark.add_row(text, row)
    assert text.splitlines()[3:5] == [
        "| GPU | mine |  | 2.00 s |  |  |", "| CPU | mine |  | 3.00 s |  |  |",
    ]  # fmt: skip
    assert text.startswith("text\n") and text.endswith("<!-- end of results -->\nmore\n")


def test_the_notebook_measures_what_the_readme_shows():
    text = benchmark.NOTEBOOK.read_text(encoding="utf-8")
    assert all(f'\\"{label}\\"' in text for label in benchmark.LABELS)
    assert benchmark.END in benchmark.README.read_text(encoding="utf-8").splitlines()
