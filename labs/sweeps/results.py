"""Tell what came of a sweep: a table of all jobs, and a page with all pictures."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.judge import IMAGES_AT_ONCE, adherence, load_judge
from helpers.models import MODELS, MODELS_FOLDER
from labs.images.settings import Settings
from labs.sweeps.drawing import explain
from labs.sweeps.jobs import FIELDS, Job

if TYPE_CHECKING:
    import pandas

TABLE, SHEET = "table.csv", "contact_sheet.html"
PAGE = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 1em; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(192px, 1fr)); gap: 1em; }}
figure {{ margin: 0; content-visibility: auto; contain-intrinsic-size: auto 240px; }}
img {{ width: 100%; }}
</style>
<h1>{title}</h1>
<main>
{figures}
</main>
</html>
"""
FIGURE = """\
<figure><a href="{file}"><img loading="lazy" src="{file}" alt="{alt}"></a>
<figcaption>{caption}</figcaption></figure>"""


def tabulate(
    wanted: Mapping[str, Settings],
    refused: Sequence[Job],
    failed: Mapping[str, str],
    folder: Path,
    *,
    judge: str | None = None,
) -> pandas.DataFrame:
    """Set all jobs of a sweep side by side, those without a picture with the reason.

    Args:
        wanted: the settings of each picture, by the name of its file.
        refused: the jobs that have no settings, each with its "problem".
        failed: why a picture could not be drawn, by the name of its file.
        folder: where the pictures are.
        judge: what reads them, for `load_judge`; None for the embedded one if it knows the model.

    Returns:
        A row for each job: the file, what a job may set, model and dtype; seconds, its share of
        those of its batch; adherence, the share of what its prompt asks for that the judge reads in
        the picture, if a judge fits; and the problem, "" if there is a picture.

    Example:
        >>> table = tabulate({"knight.png": Settings("a knight")}, [], {}, Path("nowhere"))
        >>> table["problem"].to_list()
        ['not drawn yet']
    """
    import pandas

    there = {name: settings for name, settings in wanted.items() if (folder / name).is_file()}
    rows = [
        {"file": name}
        | {field: getattr(settings, field) for field in (*FIELDS, "model", "dtype")}
        | {"seconds": _seconds(folder / name) if name in there else None}
        | {"problem": "" if name in there else failed.get(name, "not drawn yet")}
        for name, settings in wanted.items()
    ]
    columns = ["file", *FIELDS, "model", "dtype", "seconds", "problem"]
    table = pandas.DataFrame([*rows, *refused]).reindex(columns=columns)
    models = {settings.model for settings in there.values()}
    judge = judge or _embedded_judge(models)
    if judge and there:
        read = pandas.Series(dict(zip(there, _adherence(there, folder, judge), strict=True)))
        table.insert(len(columns) - 1, "adherence", table["file"].map(read))
    return table


def write_table(table: pandas.DataFrame, folder: Path) -> None:
    """Write a sweep's table and its contact sheet into its folder.

    The sheet is a page that scrolls: a browser loads each picture when it comes into sight.

    Raises:
        OSError: they cannot be written, such as on a full disk.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_table(tabulate({}, [], {}, folder), folder)
        >>> sorted(path.name for path in folder.iterdir())
        ['contact_sheet.html', 'table.csv']
    """
    drawn = table[table["problem"] == ""].to_dict("records")
    title = f"{len(drawn):,} pictures"
    sheet = PAGE.format(title=title, figures="\n".join(map(_figure, drawn)))
    for name, text in ((TABLE, table.to_csv(index=False)), (SHEET, sheet)):
        part = folder / f".{name}.part"
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, folder / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise explain(error, folder) from error


def _seconds(path: Path) -> float | None:
    with Image.open(path, formats=["PNG"]) as image:
        text = image.info.get("seconds")
    return float(text) if text else None


def _embedded_judge(models: set[str]) -> str | None:
    """The judge of a model, if that is embedded: one of the Hub is fetched for who names it."""
    known = [MODELS[name] for name in models if name in MODELS and not MODELS[name].random_weights]
    return next((row.judge for row in known if (MODELS_FOLDER / row.judge).is_dir()), None)


def _adherence(wanted: Mapping[str, Settings], folder: Path, judge: str) -> Iterator[float]:
    """The share of each prompt that came out right, a few pictures in memory at a time."""
    loaded = load_judge(judge)
    for start in range(0, len(wanted), IMAGES_AT_ONCE):
        some = list(wanted)[start : start + IMAGES_AT_ONCE]
        images = [Image.open(folder / name, formats=["PNG"]).convert("RGB") for name in some]
        prompts = [wanted[name].prompt for name in some]
        shares = adherence(images, prompts, loaded).mean(axis="columns")
        yield from shares.to_numpy(dtype=float, na_value=nan)


def _figure(row: dict[str, Any]) -> str:
    about = [f"seed {row['seed']}", f"{row['num_inference_steps']} steps", row["scheduler"]]
    if row.get("adherence", nan) >= 0:  # it is NaN where the prompt asks for nothing known
        about.append(f"{row['adherence']:.0%} of the prompt")
    texts = {"alt": row["prompt"], "caption": f"{row['prompt']} ({', '.join(about)})"}
    return FIGURE.format(file=row["file"], **{key: html.escape(val) for key, val in texts.items()})
