"""`make benchmark`: run the notebooks that measure, and keep what they measured on this machine."""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
README = ROOT / "README.md"
NOTEBOOKS = ("02_speed", "03_memory", "06_faster")
# The README's columns: a label of a measurement in notebook 05, and its heading.
COLUMNS = {
    "baseline": "default",
    "recipe": "the page's recipe",
    "nothing lost, together": "part two, same image",
    "all together": "and four-step weights",
}
# Runs before a notebook's own cells, and stores what `measure` measures.
STORE = """
import json
from helpers import timing

def _store(measurement):
    with open({path!r}, "a", encoding="utf-8") as file:
        file.write(json.dumps(measurement.as_dict()) + "\\n")

timing.observers.append(_store)
"""


def run_notebook(path: Path, model: str) -> list[dict[str, Any]]:
    """Run a notebook with a model of `MODELS`, without changing its file.

    Returns:
        What it measured, in order: `Measurement.as_dict()`, with the notebook's name.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "measurements.jsonl"
        lines.touch()
        notebook.cells.insert(0, nbformat.v4.new_code_cell(STORE.format(path=str(lines))))
        client = NotebookClient(
            notebook, timeout=None, resources={"metadata": {"path": str(path.parent)}}
        )
        client.execute(env=os.environ | {"TUTORIAL_MODEL": model, "CI": "true"})
        rows = map(json.loads, lines.read_text(encoding="utf-8").splitlines())
        return [{"notebook": path.stem, **row} for row in rows]


def write_results(model: str, rows: list[dict[str, Any]], folder: Path = RESULTS) -> Path:
    """Write one file for a machine and a model: its name, its versions and the measurements.

    Raises:
        ValueError: nothing was measured.
    """
    if not rows:
        raise ValueError("Nothing was measured: give a notebook that calls `measure`.")
    machine = rows[-1]["device"]
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine} {model}".lower()).strip("-")
    content = {"machine": machine, "model": model, "versions": rows[-1]["versions"]}
    content["measurements"] = [
        {key: value for key, value in row.items() if key != "versions"} for row in rows
    ]
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def make_table(folder: Path = RESULTS) -> str:
    """Return the README's table: a row for each file of results, in seconds per image."""
    lines = [["machine", "model", *COLUMNS.values()], ["---"] * (2 + len(COLUMNS))]
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = {}
        for row in content["measurements"]:
            speedup = f" ({row['speedup']:.1f})" if row["speedup"] else ""
            cells[row["label"]] = f"{row['seconds'] / max(1, row['images']):.2f} s{speedup}"
        shown = [cells.get(label, "") for label in COLUMNS]
        lines.append([content["machine"], content["model"], *shown])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def insert_table(text: str, table: str) -> str:
    """Return a text with the table between its two comments about results."""
    between = re.compile("(?<=<!-- results -->).*(?=<!-- end of results -->)", re.DOTALL)
    return between.sub(lambda _: f"\n{table}\n", text)


def main() -> None:
    """Run the notebooks, and write this machine's file and the README's table."""
    parser = argparse.ArgumentParser("python -m tools.benchmark", description=__doc__)
    parser.add_argument("--model", default="tiny-portraits", help="a name of MODELS")
    model = parser.parse_args().model
    rows = []
    for name in NOTEBOOKS:
        rows += run_notebook(ROOT / "notebooks" / f"{name}.ipynb", model)
        path = write_results(model, rows)  # kept if a later notebook fails
    README.write_text(insert_table(README.read_text("utf-8"), make_table()), "utf-8")
    print(f"Written: {path}\n\n{make_table()}")


if __name__ == "__main__":
    main()
