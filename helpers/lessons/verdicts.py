"""Hold the page's claims against what was measured here, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.lessons.published import CLAIMS

if TYPE_CHECKING:
    import pandas

WORDS = {True: "held here", False: "contradicted here", None: "cannot be tested here"}
_given: dict[str, dict[str, str]] = {}  # by lesson, of this notebook


def verdict(lesson: str, held: bool | None, why: str) -> None:
    """Print whether a lesson's claim held here, and note it for `verdicts`.

    Args:
        lesson: a name of `CLAIMS`.
        held: None where this machine cannot tell; then what was seen elsewhere is printed too.
        why: what was measured, in a sentence.

    Raises:
        ValueError: there is no such claim.

    Example:
        >>> verdict("L3", True, "seed 0 drew the same picture twice.")
        L3 held here: seed 0 drew the same picture twice.
    """
    if lesson not in CLAIMS:
        raise ValueError(f"{lesson!r} is no lesson with a claim: there are {', '.join(CLAIMS)}.")
    claim, words = CLAIMS[lesson], WORDS[None if held is None else bool(held)]
    if held is None and claim.elsewhere:
        why = f"{why} Elsewhere: {claim.elsewhere}"
    _given[lesson] = {"claim": claim.text, "verdict": words, "why": why}
    print(f"{lesson} {words}: {why}")


def verdicts() -> pandas.DataFrame:
    """Set all verdicts of this notebook side by side: the claim, the verdict, and why.

    Example:
        >>> verdict("L9", True, "picture 3 was drawn again.")
        L9 held here: picture 3 was drawn again.
        >>> verdicts().loc["L9", "verdict"]
        'held here'
    """
    import pandas

    pandas.set_option("display.max_colwidth", None)
    return pandas.DataFrame.from_dict(_given, orient="index")
