"""Read a sweep's jobs: plain rows, from which the settings and the name of each image follow."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from labs.images import Settings
from labs.images.describe import describe_settings
from labs.images.generate import ignores_negative_prompt
from labs.sweeps.loras import use_lora
from labs.sweeps.tables import read_csv

if TYPE_CHECKING:
    import pandas
    from diffusers import DiffusionPipeline

Job = dict[str, Any]
# What a job may set, in the order of the table; only the prompt is required.
FIELDS = (
    "prompt", "negative_prompt", "seed", "num_inference_steps", "guidance_scale", "scheduler",
    "height", "width", "lora", "lora_strength",
)  # fmt: skip
WHOLE = ("seed", "num_inference_steps", "height", "width")
NUMBERS = (*WHOLE, "guidance_scale", "lora_strength")


def read_jobs(jobs: str | Path | Mapping[str, Any] | Iterable[Job] | pandas.DataFrame) -> list[Job]:
    """Return the rows of a sweep, each with the settings of one image.

    Args:
        jobs: rows in a list or a table; or values by name, of which all combinations are made; or
            a .csv or .json file with one of these. What a row leaves out, or has as None or NaN,
            has its default.

    Raises:
        ValueError: there is no job, or the file cannot be read.
        FileNotFoundError: there is no such file.

    Example:
        >>> read_jobs({"prompt": ["a knight", "a queen"], "seed": 7})
        [{'prompt': 'a knight', 'seed': 7}, {'prompt': 'a queen', 'seed': 7}]
    """
    if isinstance(jobs, str | Path):
        return read_jobs(_read_file(Path(jobs).expanduser()))
    if isinstance(jobs, Mapping):
        values = [list(each) if _is_several(each) else [each] for each in jobs.values()]
        rows = [dict(zip(jobs, row, strict=True)) for row in product(*values)] if jobs else []
    elif hasattr(jobs, "to_dict"):  # a DataFrame
        rows = jobs.to_dict("records")
    else:
        rows = list(jobs) if _is_several(jobs) else []
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(
            "There is no job in that: give rows such as {'prompt': 'a knight', 'seed': 7}, or "
            "values to combine, such as {'prompt': ['a knight', 'a queen'], 'seed': range(4)}."
        )
    return [_without_gaps(row) for row in rows]


def describe_jobs(
    jobs: Iterable[Job], pipeline: DiffusionPipeline
) -> tuple[dict[str, Settings], list[Job]]:
    """Complete each job to the settings of its image.

    Returns:
        The settings by the name of the image's file, each once; and the refused jobs, each with
        its "problem".
    """

    @cache
    def default_settings(scheduler: str | None, lora: str | None, strength: Any) -> Settings:
        use_lora(pipeline, lora, strength)
        return describe_settings(pipeline, scheduler=scheduler)

    wanted, refused = {}, []
    for job in jobs:
        given = dict(job)
        try:
            if unknown := sorted({str(name) for name in given} - set(FIELDS)):
                raise ValueError(f"A job cannot set {unknown[0]!r}, only {', '.join(FIELDS)}.")
            if "prompt" not in given:
                raise ValueError("A job needs a prompt.")
            if given.get("negative_prompt") and ignores_negative_prompt(pipeline):
                raise ValueError(f"A {type(pipeline).__name__} ignores the negative prompt.")
            lora, strength = given.pop("lora", None), given.pop("lora_strength", 1.0)
            scheduler = given.pop("scheduler", None)
            settings = default_settings(
                scheduler and str(scheduler), lora and str(lora), strength
            ).replace(**given)
        except (ValueError, TypeError, OSError) as error:  # a TypeError: a strength that is a list
            refused.append({**job, "problem": str(error)})
        else:
            wanted[name_of(settings)] = settings
    return wanted, refused


def name_of(settings: Settings) -> str:
    """Name an image's file: the prompt's first words, the seed, and a digest of all settings.

    Example:
        >>> name_of(Settings("A knight, smiling", seed=7))
        'a-knight-smiling-seed-7-....png'
    """
    digest = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    words = "-".join(re.findall("[a-z0-9]+", settings.prompt.lower()))[:40].strip("-")
    return f"{words or 'image'}-seed-{settings.seed}-{digest}.png"


def is_complete(path: Path) -> bool:
    """Whether an image is there to its last byte; its pixels are not decoded."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()
    except Exception:  # Pillow raises many kinds for an incomplete file
        return False
    return True


def _is_several(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1)


def _read_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: give a .csv or .json with jobs.")
    if (kind := path.suffix.lower()) not in (".csv", ".json"):
        raise ValueError(f"{path.name} is neither .csv nor .json: save the jobs as one of these.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if kind == ".json":
            return json.loads(text)
        return [
            {name: _number(cell) if name in NUMBERS else cell for name, cell in row.items()}
            for row in read_csv(text)
        ]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8: save it as UTF-8 (CSV UTF-8).") from error
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _number(cell: str) -> int | float | str:
    """Turn a cell into a number; one that is none is refused later."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(cell)
    return cell


def _without_gaps(row: Job) -> Job:
    """Leave out gaps, and turn back the floats that a table with gaps makes of whole numbers."""
    cleaned = {}
    for name, value in row.items():
        if isinstance(value, float):
            if math.isnan(value):
                continue
            if name in WHOLE and value.is_integer() and abs(value) < 2**53:  # no digit was lost
                value = int(value)
        if value is not None and type(value).__name__ != "NAType":
            cleaned[name] = value
    return cleaned
