"""Checks of the exercises on sweeps."""

from __future__ import annotations

from typing import Any

from helpers.lessons.exercises.checking import checks
from labs.sweeps.jobs import read_jobs

THREE_KNIGHTS = [
    {"prompt": "a knight", "seed": seed, "num_inference_steps": steps}
    for seed, steps in ((0, 20), (1, 20), (2, 50))
]


@checks(int, "a number of pictures")
def count_of_jobs(answer: int, jobs: dict[str, list[Any]]) -> str:
    """Does this table of values ask for so many pictures?

    Args:
        answer: a number of pictures.
        jobs: values to combine, as `sweep` takes them.

    Example:
        >>> count_of_jobs(5, {"prompt": ["a knight"], "seed": [0, 1]})
        'Not yet: 5 is too many. Every value meets every other.'
    """
    count = len(read_jobs(jobs))
    if answer != count:
        much = "few" if answer < count else "many"
        return f"Not yet: {answer} is too {much}. Every value meets every other."
    return f"Right: it asks for {count} pictures."


@checks(dict | list, "jobs, as a dict or a list")
def jobs_ask_for(answer: dict | list, rows: list[dict[str, Any]]) -> str:
    """Do these jobs ask for just these pictures, in any order?

    Args:
        answer: jobs, as `sweep` takes them.
        rows: the settings of each picture.

    Example:
        >>> jobs_ask_for([{"prompt": "a knight"}], [{"prompt": "a queen"}])
        'Not yet: 1 of the pictures is missing, and 1 is not asked for.'
    """
    asked, wanted = ([sorted(row.items()) for row in read_jobs(some)] for some in (answer, rows))
    missing = sum(row not in asked for row in wanted)
    beyond = sum(row not in wanted for row in asked)
    if missing or beyond:
        return f"Not yet: {missing} of the pictures is missing, and {beyond} is not asked for."
    return f"Right: these are the {len(wanted)} pictures."


@checks(float, "hours, such as 1.5,")
def hours_of_sweep(answer: float, seconds: float, images: int, processes: int) -> str:
    """Is this how long so many pictures take?

    Args:
        answer: hours.
        seconds: of one picture, in one process.
        images: how many there are to draw.
        processes: how many draw at once, each on a core or a GPU of its own.

    Example:
        >>> hours_of_sweep(1.0, seconds=0.36, images=10_000, processes=1)
        'Right: 10000 pictures take 1.0 hours.'
    """
    hours = images * seconds / processes / 3600
    if abs(answer / hours - 1) > 0.05:
        return f"Not yet: it takes {'less' if answer > hours else 'more'} than {answer:.2g} hours."
    return f"Right: {images} pictures take {hours:.1f} hours."
