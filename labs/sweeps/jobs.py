"""Read a sweep's jobs: plain rows, from which the settings and the name of each image follow."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from labs.images import Settings
from labs.images.describe import describe_settings
from labs.images.generate import ignores_negative_prompt
from labs.images.loras import use_lora
from labs.sweeps.tables import read_csv

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Job = dict[str, Any]
# What a job may set, in the order of the table; only the prompt is required.
FIELDS = (
    "prompt", "negative_prompt", "seed", "num_inference_steps", "guidance_scale", "scheduler",
    "height", "width", "lora", "lora_strength",
)  # fmt: skip


def read_jobs(jobs: str | Path | Mapping[str, Any] | Iterable[Job]) -> list[Job]:
    """Return the rows of a sweep, each with the settings of one image.

    Args:
        jobs: rows; or values by name, of which all combinations are made; or a .csv or .json file
            with one of these. What a row leaves out, or has as None, has its default.

    Raises:
        ValueError: there is no job, or the file cannot be read.
        FileNotFoundError: there is no such file.

    Example:
        >>> read_jobs({"prompt": ["a knight", "a queen"], "seed": 7})
        [{'prompt': 'a knight', 'seed': 7}, {'prompt': 'a queen', 'seed': 7}]
    """
    if isinstance(jobs, str | Path):
        jobs = _read_file(Path(jobs).expanduser())
    if isinstance(jobs, Mapping):
        values = [list(each) if _is_several(each) else [each] for each in jobs.values()]
        jobs = [dict(zip(jobs, row, strict=True)) for row in product(*values)] if jobs else []
    rows = list(jobs) if _is_several(jobs) else []
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        raise ValueError(
            "There is no job in that: give rows such as {'prompt': 'a knight', 'seed': 7}, or "
            "values to combine, such as {'prompt': ['a knight', 'a queen'], 'seed': range(4)}."
        )
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def describe_jobs(
    jobs: Iterable[Job], pipeline: DiffusionPipeline
) -> tuple[dict[str, Settings], list[Job]]:
    """Complete each job to the settings of its image.

    Returns:
        The settings by the name of the image's file, each once; and the refused jobs, each with
        its "problem".
    """

    @cache
    def default_settings(
        scheduler: str | None, lora: str | None, strength: float
    ) -> Settings | Exception:
        try:
            use_lora(pipeline, lora, strength)
            return describe_settings(pipeline, scheduler=scheduler)
        except (ValueError, OSError) as error:  # returned, so that it is cached, too
            return error

    wanted, refused, jobs = {}, [], list(jobs)
    named = any("lora" in job for job in jobs)  # those without it are the baseline
    for job in jobs:
        given = dict(job)
        try:
            if unknown := sorted({str(name) for name in given} - set(FIELDS)):
                raise ValueError(f"A job cannot set {unknown[0]!r}, only {', '.join(FIELDS)}.")
            if given.get("negative_prompt") and ignores_negative_prompt(pipeline):
                raise ValueError(f"A {type(pipeline).__name__} ignores the negative prompt.")
            if "lora_strength" in given and not named:
                raise ValueError("lora_strength has no effect without lora: name the weights.")
            if several := [name for name, val in given.items() if isinstance(val, list | dict)]:
                raise ValueError(f"{several[0]} of one job should be a single value.")
            shared = [given.pop("scheduler", None), given.pop("lora", None)]
            defaults = default_settings(*shared, given.pop("lora_strength", 1.0))
            if isinstance(defaults, Exception):
                raise defaults
            settings = defaults.replace(**{"prompt": None, **given})
        except (ValueError, OSError, TypeError) as error:  # TypeError: what cannot be cached
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
    return isinstance(value, Iterable) and not isinstance(value, str)


def _read_file(path: Path) -> Any:
    readers = {".csv": read_csv, ".json": json.loads}
    if (kind := path.suffix.lower()) not in readers:
        raise ValueError(f"{path.name} is neither .csv nor .json: save the jobs as one of these.")
    try:
        return readers[kind](path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # also for what is not UTF-8
        advice = f"Save it as {kind[1:].upper()} in UTF-8."
        raise ValueError(f"{path.name} cannot be read: {error}. {advice}") from error
