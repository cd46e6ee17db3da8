"""Compare the Diffusers page's claims with what was measured here and elsewhere, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.lessons.published import CLAIMS, VERDICTS

if TYPE_CHECKING:
    import pandas

_given: dict[str, dict[str, str]] = {}  # by lesson, of this notebook


def verdict(lesson: str, here: str, why: str) -> None:
    """Print what a claim came to, here and elsewhere, and keep it for `verdicts`.

    Args:
        lesson: a name of `CLAIMS`, such as "L7".
        here: one of `VERDICTS`.
        why: what was measured here, or why nothing could be, in a sentence.

    Raises:
        ValueError: the lesson or the verdict is unknown.
    """
    if lesson not in CLAIMS:
        raise ValueError(f"{lesson!r} is not a lesson with a claim: there are {', '.join(CLAIMS)}.")
    if here not in VERDICTS:
        raise ValueError(f"{here!r} is not a verdict: choose {', '.join(VERDICTS)}.")
    claim = CLAIMS[lesson]
    row = {"here": f"{here}: {why}", "elsewhere": f"{claim.elsewhere}: {claim.evidence}"}
    _given[lesson] = {"claim": claim.text, **row}
    for place, text in row.items():
        print(f"{lesson} {place}: {text.removesuffix(': ')}")


def verdicts() -> pandas.DataFrame:
    """Return a table of this notebook's verdicts: the claim, and what it came to in both places."""
    import pandas

    pandas.set_option("display.max_colwidth", None)
    return pandas.DataFrame.from_dict(_given, orient="index")
