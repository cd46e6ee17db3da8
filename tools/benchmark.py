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
from helpers import timing

def _store(measurement):
    with open({path!r}, "a", encoding="utf-8") as file:
        file.write(json.dumps(measurement.as_dict()) + "\\n")

timing.observers.append(_store)
"""


def run_notebook(path: Path, model: str) -> list[dict]:
    """Run a notebook with a model of `MODELS`, unchanged, and return what it measured."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "measurements.jsonl"
        lines.touch()
        notebook.cells.insert(0, nbformat.v4.new_code_cell(STORE.format(path=str(lines))))
        place = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, timeout=None, resources=place)
        client.execute(env=os.environ | {"TUTORIAL_MODEL": model, "CI": "true"})
        return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]


def make_row(model: str, rows: list[dict]) -> str:
    """A line of the table: the machine, the model, and the seconds per image of each label.

    Raises:
        ValueError: nothing was measured.
    """
    if not rows:
        raise ValueError("Nothing was measured: give a notebook that calls `measure`.")
    seconds = {row["label"]: row["seconds"] / max(1, row["images"]) for row in rows}
    cells = [f"{seconds[label]:.2f} s" if label in seconds else "" for label in LABELS]
    return f"| {' | '.join([rows[-1]['device'], model, *cells])} |"


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
