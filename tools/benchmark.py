"""`make benchmark`: run the notebook that compares, and write this machine's row in the README."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
README, NOTEBOOK = ROOT / "README.md", ROOT / "notebooks" / "06_faster.ipynb"
# The labels of the notebook's measurements that the README's table shows, in its order.
LABELS = ("50 steps, PNDM", "20 steps", "OpenVINO, 2 threads", "4 steps, few-step weights")
END = "<!-- end of results -->"
# Runs before the notebook's own cells, and stores what `measure` measures.
STORE = """
import json

import helpers
from helpers import timing

def measure_and_store(*args, measure=timing.measure, **options):
    measurement = measure(*args, **options)
    row = (measurement.label, measurement.seconds_per_image, measurement.device)
    with open({path!r}, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\\n")
    return measurement

helpers.measure = timing.measure = measure_and_store
"""


def run_notebook(path: Path, model: str) -> list[tuple[str, float, str]]:
    """Run a notebook with a model of `MODELS`, and return what it measured.

    Returns:
        The label, the seconds per image and the device of each measurement.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "measurements.jsonl"
        lines.touch()
        notebook.cells.insert(0, nbformat.v4.new_code_cell(STORE.format(path=str(lines))))
        place = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, timeout=None, resources=place)
        client.execute(env=os.environ | {"TUTORIAL_MODEL": model, "CI": "true"})
        return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]


def make_row(model: str, measured: list[tuple[str, float, str]]) -> str:
    """A line of the table: the machine, the model, and the seconds per image of each label."""
    seconds = {label: f"{value:.2f} s" for label, value, _ in measured}
    cells = [seconds.get(label, "") for label in LABELS]
    return f"| {' | '.join([measured[-1][2], model, *cells])} |"


def add_row(text: str, row: str) -> str:
    """Return a text with the row at the end of its table, in place of the machine's earlier one."""
    start = row.split("|")[1:3]
    lines = [line for line in text.splitlines() if line.split("|")[1:3] != start]
    lines.insert(lines.index(END), row)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the notebook and change the README."""
    parser = argparse.ArgumentParser("python -m tools.benchmark", description=__doc__)
    parser.add_argument("--model", default="tiny-portraits", help="a name of MODELS")
    model = parser.parse_args().model
    row = make_row(model, run_notebook(NOTEBOOK, model))
    README.write_text(add_row(README.read_text("utf-8"), row), "utf-8")
    print(row)


if __name__ == "__main__":
    main()
