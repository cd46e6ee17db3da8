"""Write what came of a sweep: a table of all jobs, and a page with all images."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers import MODELS, MODELS_FOLDER, adherence
from labs.images import Settings
from labs.sweeps.jobs import FIELDS, Job
from labs.sweeps.tables import write_csv

if TYPE_CHECKING:
    import pandas

    from helpers.judge import Judge

COLUMNS = ("file", *FIELDS, "model", "dtype", "seconds", "adherence", "problem")
IMAGES_AT_ONCE = 64  # in the memory of the judge
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
    failures: Mapping[str, str],
    folder: Path,
    *,
    judge: Judge | None = None,
) -> pandas.DataFrame:
    """Make a table of all jobs of a sweep, those without an image with the reason.

    Args:
        wanted: the settings of each image, by the name of its file.
        refused: the jobs that have no settings, each with its "problem".
        failures: why an image could not be generated, by the name of its file.

    Returns:
        A row for each job: the file, what a job may set, model and dtype; seconds, its share of
        those of its batch; adherence, the share of what its prompt asks for that the judge reads in
        the image, NaN without a judge; and the problem, "" if there is an image.
    """
    import pandas

    there = [name for name in wanted if (folder / name).is_file()]
    shares = _adherence(there, wanted, folder, judge) if judge else {}
    rows = [
        {
            "file": name,
            **settings.model_dump(include={*FIELDS, "model", "dtype"}),
            "lora": next(iter(settings.loras), None),
            "lora_strength": next(iter(settings.loras.values()), None),
            "seconds": _seconds(folder / name) if name in there else None,
            "adherence": shares.get(name, nan),
            "problem": failures.get(name, "not generated yet"),
        }
        for name, settings in wanted.items()
    ]
    table = pandas.DataFrame([*rows, *refused]).reindex(columns=COLUMNS)
    table.loc[table["file"].isin(there), "problem"] = ""
    return table


def write_table(table: pandas.DataFrame, folder: Path) -> None:
    """Write a sweep's table and its contact sheet into its folder.

    The sheet is a page that scrolls: a browser loads each image when it comes into view.

    Raises:
        OSError: they cannot be written, such as on a full disk.
    """
    rows = table.astype(object).where(table.notna(), "").to_dict("records")
    there = [row for row in rows if row["problem"] == ""]
    title = f"{len(there):,} images"
    sheet = PAGE.format(title=title, figures="\n".join(map(_figure, there)))
    parts = [folder / f".{name}.{os.getpid()}.part" for name in (TABLE, SHEET)]
    try:
        write_csv(parts[0], COLUMNS, rows)
        parts[1].write_text(sheet, encoding="utf-8")
        for part, name in zip(parts, (TABLE, SHEET), strict=True):
            os.replace(part, folder / name)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def embedded_judge(wanted: Iterable[Settings]) -> str | None:
    """Return the judge of the images' model, if it is embedded; one of the Hub has to be named."""
    models = {settings.model for settings in wanted}
    known = [MODELS[name] for name in models if name in MODELS and not MODELS[name].random_weights]
    return next((row.judge for row in known if (MODELS_FOLDER / row.judge).is_dir()), None)


def _seconds(path: Path) -> float | None:
    with Image.open(path, formats=["PNG"]) as image:
        text = image.info.get("seconds")
    return float(text) if text else None


def _adherence(
    names: Sequence[str], wanted: Mapping[str, Settings], folder: Path, judge: Judge
) -> dict[str, float]:
    """The share of each prompt that an image shows, with a few images in memory at a time."""
    shares: dict[str, float] = {}
    for start in range(0, len(names), IMAGES_AT_ONCE):
        some = names[start : start + IMAGES_AT_ONCE]
        images = [Image.open(folder / name, formats=["PNG"]).convert("RGB") for name in some]
        prompts = [wanted[name].prompt for name in some]
        found = adherence(images, prompts, judge).mean(axis="columns")
        shares |= dict(zip(some, found.to_numpy(dtype=float, na_value=nan), strict=True))
    return shares


def _figure(row: dict[str, Any]) -> str:
    about = [f"seed {row['seed']}", f"{row['num_inference_steps']} steps", row["scheduler"]]
    if row["adherence"] != "":  # it is empty where the prompt asks for nothing known
        about.append(f"{row['adherence']:.0%} of the prompt")
    texts = {"alt": row["prompt"], "caption": f"{row['prompt']} ({', '.join(about)})"}
    return FIGURE.format(file=row["file"], **{key: html.escape(val) for key, val in texts.items()})
