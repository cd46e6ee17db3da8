"""`make benchmark`: run the notebooks at a size, keep what they measured, and tabulate it.

The notebooks are the benchmark: nothing is measured here that a reader does not see measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

if TYPE_CHECKING:
    import pandas

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
README = ROOT / "README.md"
MEASURED = ("02_speed", "03_memory", "05_faster")  # the notebooks that measure time
# The labels of 05 that tell the whole road, and what they are called in the README.
ROAD = {
    "baseline": "default",
    "recipe": "the page's recipe",
    "nothing lost, together": "part two, same picture",
    "all together": "and four-step weights",
}


def run_notebooks(model: str, notebooks: Iterable[Path]) -> list[dict[str, Any]]:
    """Run notebooks with a model, without changing their files, and return what they measured.

    Args:
        model: a name of `MODELS`.
        notebooks: their files.

    Returns:
        The figures of each `Measurement`, in order, with the notebook's name.

    Source: nbclient, `NotebookClient`.

    Example:
        >>> run_notebooks("tiny-portraits", [])
        []
    """
    import nbformat
    from nbclient import NotebookClient

    figures = []
    for path in tqdm(list(notebooks), "notebooks", disable=bool(os.environ.get("CI"))):
        with tempfile.TemporaryDirectory() as folder:
            lines = Path(folder) / "measurements.jsonl"
            lines.touch()
            settings = {"TUTORIAL_MODEL": model, "TUTORIAL_RESULTS": str(lines), "CI": "true"}
            NotebookClient(
                nbformat.read(path, as_version=4),
                timeout=None,
                resources={"metadata": {"path": path.parent}},
            ).execute(env=os.environ | settings)
            for line in lines.read_text(encoding="utf-8").splitlines():
                figures.append({"notebook": path.stem, **json.loads(line)})
    return figures


def write_results(model: str, figures: Sequence[dict[str, Any]], folder: Path = RESULTS) -> Path:
    """Write one file for this machine and model: its name, its versions, its figures.

    Raises:
        ValueError: nothing was measured.

    Example:
        >>> one = {"label": "20 steps", "seconds": 0.5, "device": "CPU 9", "versions": {}}
        >>> write_results("mine", [one], Path(tempfile.mkdtemp())).name
        'cpu-9-mine.json'
    """
    if not figures:
        raise ValueError("Nothing was measured: give a notebook that calls `measure`.")
    # The last measurement ran where the notebooks settled: an accelerator, if there is one.
    machine = figures[-1]["device"]
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine} {model}".lower()).strip("-")
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    content = {"machine": machine, "model": model, "versions": figures[-1]["versions"]}
    content["measurements"] = [
        {key: value for key, value in one.items() if key != "versions"} for one in figures
    ]
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def read_results(folder: Path = RESULTS) -> pandas.DataFrame:
    """Read every machine's file into one table.

    Returns:
        A row for each measurement: machine, model, notebook, label, seconds an image, times faster
        than the call that took turns with it, and GB at most, where those were measured.

    Raises:
        FileNotFoundError: there is no file yet.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> one = {"notebook": "01", "label": "20 steps", "seconds": 2.0, "images": 4}
        >>> one |= {"device": "CPU", "versions": {}, "peak_memory": None, "times_faster": 2.5}
        >>> _ = write_results("mine", [one], folder)
        >>> read_results(folder)["seconds per image"].tolist()
        [0.5]
    """
    import pandas

    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no results yet: run `make benchmark` first.")
    return pandas.DataFrame(
        {
            "machine": content["machine"],
            "model": content["model"],
            "notebook": one["notebook"],
            "measurement": one["label"],
            "seconds per image": one["seconds"] / max(1, one["images"]),
            "times faster": one["times_faster"],
            "peak memory (GB)": one["peak_memory"] and one["peak_memory"] / 1e9,
        }
        for content in (json.loads(path.read_text(encoding="utf-8")) for path in files)
        for one in content["measurements"]
    )


def tabulate_road(folder: Path = RESULTS) -> str:
    """Write the README's table: a row for each file, from the slowest picture to the fastest.

    Raises:
        FileNotFoundError: there is no file yet.

    Example:
        >>> print(tabulate_road().splitlines()[0])
        | machine | model | default | the page's recipe | ... | and four-step weights |
    """
    import pandas

    lines = [["machine", "model", *ROAD.values()], ["---"] * (2 + len(ROAD))]
    road = read_results(folder).query("measurement in @ROAD")
    for (machine, model), rows in road.groupby(["machine", "model"], sort=False):
        cells = {}
        for row in rows.to_dict("records"):
            ratio = row["times faster"]
            beside = f" ({ratio:.1f})" if pandas.notna(ratio) else ""
            cells[row["measurement"]] = f"{row['seconds per image']:.2f} s{beside}"
        lines.append([machine, model, *(cells.get(label, "") for label in ROAD)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def with_table(text: str, table: str) -> str:
    """Put a table between the two comments of a text that mark its place.

    Example:
        >>> with_table("<!-- results -->old<!-- end of results -->", "new")
        '<!-- results -->\\nnew\\n<!-- end of results -->'
    """
    place = re.compile("(?<=<!-- results -->).*(?=<!-- end of results -->)", re.DOTALL)
    return place.sub(lambda _: f"\n{table}\n", text)


def main() -> None:
    """Run the notebooks that measure, write this machine's file and the README's table of all."""
    parser = argparse.ArgumentParser("python -m helpers.benchmark", description=__doc__)
    parser.add_argument("--model", default="tiny-portraits", help="a name of MODELS")
    model = parser.parse_args().model
    figures = []
    for name in MEASURED:  # what one has measured is kept if the next one fails
        figures += run_notebooks(model, [ROOT / "notebooks" / f"{name}.ipynb"])
        path = write_results(model, figures)
    README.write_text(with_table(README.read_text("utf-8"), tabulate_road()), "utf-8")
    table = read_results().query("model == @model").drop(columns="model")
    print(f"Written: {path.relative_to(ROOT)}\n", table.round(3).to_string(index=False), sep="\n")


if __name__ == "__main__":
    main()
