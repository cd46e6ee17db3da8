"""Checks of the exercises on sweeps."""

from __future__ import annotations

from typing import Any

from helpers.lessons.exercises import checks
from labs.sweeps.jobs import read_jobs

THREE_KNIGHTS = [
    {"prompt": "a knight", "seed": seed, "num_inference_steps": steps}
    for seed, steps in ((0, 20), (1, 20), (2, 50))
]


@checks(int, "a number of images")
def count_of_jobs(answer: int, jobs: dict[str, list[Any]]) -> str:
    """Does this table of values ask for so many images?

    Args:
        answer: a number of images.
        jobs: values to combine, as `sweep` takes them.

    Example:
        >>> count_of_jobs(5, {"prompt": ["a knight"], "seed": [0, 1]})
        'Not yet: 5 is too many. Every value is combined with every other.'
    """
    count = len(read_jobs(jobs))
    if answer != count:
        much = "few" if answer < count else "many"
        return f"Not yet: {answer} is too {much}. Every value is combined with every other."
    return f"Right: it asks for {count} images."


@checks(dict | list, "jobs, as a dict or a list")
def jobs_ask_for(answer: dict | list, rows: list[dict[str, Any]]) -> str:
    """Do these jobs ask for exactly these images, in any order?

    Args:
        answer: jobs, as `sweep` takes them.
        rows: the settings of each image.

    Example:
        >>> jobs_ask_for([{"prompt": "a knight"}], [{"prompt": "a queen"}])
        'Not yet: images missing: 1, images that were not asked for: 1.'
    """
    asked, wanted = ([sorted(row.items()) for row in read_jobs(jobs)] for jobs in (answer, rows))
    missing = sum(row not in asked for row in wanted)
    beyond = sum(row not in wanted for row in asked)
    if missing or beyond:
        return f"Not yet: images missing: {missing}, images that were not asked for: {beyond}."
    return f"Right: these are the {len(wanted)} images."


@checks(float, "hours, such as 1.5,")
def hours_of_sweep(answer: float, seconds: float, images: int, processes: int) -> str:
    """Is this how long so many images take?

    Args:
        answer: hours.
        seconds: of one image, in one process.
        images: how many there are to generate.
        processes: how many work at once, each on a core or a GPU of its own.

    Example:
        >>> hours_of_sweep(1.0, seconds=0.36, images=10_000, processes=1)
        'Right: 10000 images take 1.0 hours.'
    """
    hours = images * seconds / processes / 3600
    if abs(answer / hours - 1) > 0.05:
        return f"Not yet: it takes {'less' if answer > hours else 'more'} than {answer:.2g} hours."
    return f"Right: {images} images take {hours:.1f} hours."
