"""Read a sweep's jobs: plain rows, from which the settings and the name of each picture follow."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.models import nearest
from labs.images.describing import describe_settings
from labs.images.settings import Settings

if TYPE_CHECKING:
    import pandas

    from helpers.pipelines import StableDiffusion

Job = dict[str, Any]
# What a job may set, in the order of the table; only the prompt has to be there.
FIELDS = (
    "prompt", "negative_prompt", "seed", "num_inference_steps", "guidance_scale", "scheduler",
    "height", "width",
)  # fmt: skip


def read_jobs(jobs: str | Path | Mapping[str, Any] | Iterable[Job] | pandas.DataFrame) -> list[Job]:
    """Return the rows of a sweep.

    Args:
        jobs: rows by name, in a list or a table; or values by name, of which each is combined with
            each; or a file with one of these, .csv or .json. What a row leaves out, or a cell of a
            table leaves empty, is as `describe_settings` has it.

    Raises:
        ValueError: there is no job, or they are given otherwise.
        FileNotFoundError: there is no such file.

    Example:
        >>> read_jobs({"prompt": ["a knight", "a queen"], "seed": 7})
        [{'prompt': 'a knight', 'seed': 7}, {'prompt': 'a queen', 'seed': 7}]
    """
    import pandas

    if isinstance(jobs, str | Path):
        return read_jobs(_read_file(Path(jobs).expanduser()))
    if isinstance(jobs, Mapping):
        values = [[one] if isinstance(one, str | int | float) else one for one in jobs.values()]
        rows = [dict(zip(jobs, row, strict=True)) for row in product(*values)] if jobs else []
    elif isinstance(jobs, pandas.DataFrame):
        records = jobs.convert_dtypes().to_dict("records")  # a gap turns whole numbers into others
        rows = [{key: val for key, val in row.items() if val is not pandas.NA} for row in records]
    else:
        rows = list(jobs)
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(
            "There is no job in that: give rows such as {'prompt': 'a knight', 'seed': 7}, or "
            "values to combine, such as {'prompt': ['a knight', 'a queen'], 'seed': range(4)}."
        )
    return rows


def describe_jobs(
    jobs: Iterable[Job], pipeline: StableDiffusion
) -> tuple[dict[str, Settings], list[Job]]:
    """Complete each job to the settings of its picture.

    Returns:
        The settings by the name of the picture's file, each once; and the jobs that are refused,
        each with its "problem".

    Example:
        >>> from helpers import load_pipeline
        >>> jobs = [{"prompt": "a knight", "seed": seed} for seed in (0, -1)]
        >>> wanted, refused = describe_jobs(jobs, load_pipeline("tiny-portraits", device="cpu"))
        >>> len(wanted), refused[0]["problem"]
        (1, 'seed must be a whole number from 0 to 2**64 - 1, not -1.')
    """
    described = cache(lambda scheduler: describe_settings(pipeline, "", scheduler=scheduler))
    wanted, refused = {}, []
    for job in jobs:
        given = {name: value for name, value in job.items() if value is not None}
        try:
            if unknown := sorted(set(map(str, given)) - set(FIELDS)):
                raise ValueError(f"A job sets no {unknown[0]!r}. {nearest(unknown[0], FIELDS)}")
            if "prompt" not in given:
                raise ValueError("A job needs a prompt: say what to draw.")
            scheduler = given.pop("scheduler", None)
            settings = replace(described(scheduler and str(scheduler)), **given)
        except ValueError as error:
            refused.append({**job, "problem": str(error)})
        else:
            wanted[name_of(settings)] = settings
    return wanted, refused


def name_of(settings: Settings) -> str:
    """The file that a picture is kept in: its first words, its seed, and a digest of all settings.

    The versions of the libraries are no part of it: after an update, what is there stays.

    Example:
        >>> name_of(Settings("A knight, smiling", seed=7))
        'a-knight-smiling-seed-7-....png'
    """
    known = asdict(settings) | {"versions": None, "guidance_scale": float(settings.guidance_scale)}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    words = "-".join(re.findall("[a-z0-9]+", settings.prompt.lower()))[:40].strip("-")
    return f"{words or 'picture'}-seed-{settings.seed}-{digest}.png"


def is_whole(path: Path) -> bool:
    """Whether a picture is there to its last byte; its pixels are not decoded.

    Example:
        >>> is_whole(Path("missing.png"))
        False
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.verify()
    except Exception:  # whatever half a file provokes in Pillow
        return False
    return True


def _read_file(path: Path) -> Any:
    import pandas

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: give a .csv or .json with jobs.")
    try:
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        if path.suffix == ".csv":
            text = dict.fromkeys(("prompt", "negative_prompt", "scheduler"), str)
            return pandas.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    raise ValueError(f"{path.name} is neither .csv nor .json: save the jobs as one of these.")
