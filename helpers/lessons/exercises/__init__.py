"""Check a reader's answers: each check tries the answer out and says what it found.

Every check takes the answer first, `None` while the exercise is untouched, and returns a sentence
that begins with "Right", "Not yet" or "Not tried yet". None of them knows the solution: they draw,
forecast or read with what the reader gives.
"""

from helpers.lessons.exercises.checking import POINT, SAME
from helpers.lessons.exercises.drawing import (
    count_tokens,
    fewest_guided,
    fewest_steps,
    image_of_batch,
    nearer_scheduler,
    same_as_pipeline,
    same_picture,
    settings_are,
)
from helpers.lessons.exercises.figures import (
    THREE_KNIGHTS,
    cheapest_in_time,
    claimed_times,
    count_of_jobs,
    hours_of_sweep,
    impossible_figure,
    jobs_ask_for,
    largest_that_fits,
    pays_off_after,
    predicted_seconds,
    settings_that_fit,
    shares_of_peak,
)
from helpers.lessons.exercises.prompts import (
    negative_prompt_that_removes,
    prompt_that_shows,
    seed_that_shows,
    word_that_was_cut,
)

__all__ = [
    "THREE_KNIGHTS",
    "POINT",
    "SAME",
    "cheapest_in_time",
    "claimed_times",
    "count_of_jobs",
    "count_tokens",
    "fewest_guided",
    "fewest_steps",
    "hours_of_sweep",
    "image_of_batch",
    "impossible_figure",
    "jobs_ask_for",
    "largest_that_fits",
    "nearer_scheduler",
    "negative_prompt_that_removes",
    "pays_off_after",
    "predicted_seconds",
    "prompt_that_shows",
    "same_as_pipeline",
    "same_picture",
    "seed_that_shows",
    "settings_are",
    "settings_that_fit",
    "shares_of_peak",
    "word_that_was_cut",
]
