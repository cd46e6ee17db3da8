"""Compare the Diffusers page's claims with what was measured here, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.lessons.published import CLAIMS

if TYPE_CHECKING:
    import pandas

WORDS = {True: "held here", False: "contradicted here", None: "cannot be tested here"}
_given: dict[str, dict[str, str]] = {}  # by lesson, of this notebook


def verdict(lesson: str, held: bool | None, why: str) -> None:
    """Print whether a lesson's claim held here, and keep it for `verdicts`.

    Args:
        lesson: a name of `CLAIMS`.
        held: None where this machine cannot tell; then what others measured is printed too.
        why: what was measured, in a sentence.

    Raises:
        ValueError: there is no such claim.
    """
    if lesson not in CLAIMS:
        raise ValueError(f"{lesson!r} is not a lesson with a claim: there are {', '.join(CLAIMS)}.")
    claim, words = CLAIMS[lesson], WORDS[None if held is None else bool(held)]
    if held is None and claim.elsewhere:
        why = f"{why} Elsewhere: {claim.elsewhere}"
    _given[lesson] = {"claim": claim.text, "verdict": words, "why": why}
    print(f"{lesson} {words}: {why}")


def verdicts() -> pandas.DataFrame:
    """Return a table of all verdicts of this notebook: the claim, the verdict, and why."""
    import pandas

    pandas.set_option("display.max_colwidth", None)
    return pandas.DataFrame.from_dict(_given, orient="index")
