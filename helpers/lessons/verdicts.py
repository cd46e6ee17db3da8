"""Compare the Diffusers page's claims with what was measured here and elsewhere, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.lessons.published import CLAIMS, VERDICTS

if TYPE_CHECKING:
    import pandas

    from helpers.timing import Measurement

SHARE = 0.75  # of a claimed speedup that counts as held
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


def device_verdict(lesson: str, before: Measurement, after: Measurement, device: str) -> None:
    """Give the verdict on moving from the CPU to another device, by one call measured on both."""
    if device == "cpu":
        verdict(lesson, "not tested", "PyTorch finds no accelerator on this machine.")
        return
    gain = before.seconds / after.seconds
    why = f"{gain:.1f}x the CPU's speed on {after.device}."
    verdict(lesson, "held" if gain > 1 else "contradicted", why)


def speedup_verdict(
    lesson: str, measured: Measurement, claimed: float, *, tested: bool = True
) -> None:
    """Give the verdict on a claimed speedup: held from three quarters of it on, beyond the noise.

    Args:
        lesson: a name of `CLAIMS`.
        measured: the new call, in turns with its baseline.
        claimed: the speedup that follows from the page's seconds.
        tested: False if this device is not what the claim is about.
    """
    held = measured.is_faster and (measured.speedup or 0) >= SHARE * claimed
    here = ("held" if held else "contradicted") if tested else "not tested"
    beyond = " (no measurable difference)" if measured.is_faster is None else ""
    why = f"{measured.label}: {measured.speedup:.1f}x the baseline's speed{beyond}"
    verdict(lesson, here, f"{why}; the page's seconds make {claimed:.1f}x.")


def steps_verdict(lesson: str, needed: dict[str, int], claimed: int, limit: float) -> None:
    """Give the verdict on the steps that two schedulers need, the page's default one first.

    Held: the second needs no more than claimed, and the first twice as many or more. Mixed: the
    second needs fewer, but the page's numbers are others.
    """
    (slow, many), (fast, few) = needed.items()
    held = few <= claimed and many >= 2 * claimed
    here = "held" if held else "mixed" if few < many else "contradicted"
    why = f"{limit:g} of 255 from the converged images, {slow} needs {many} steps, {fast} {few}."
    verdict(lesson, here, why)


def memory_verdict(lesson: str, sliced: float, classic: float, default: float) -> None:
    """Give the verdict on attention slicing, by the peak memory of three ways, in MB.

    Held: slicing saves 5% or more beside today's default. Mixed: only beside classic attention.
    """
    saves = [sliced < 0.95 * other for other in (default, classic)]
    here = "held" if all(saves) else "mixed" if any(saves) else "contradicted"
    why = f"by count of live tensors, {sliced:.0f} MB sliced, {classic:.0f} MB classic"
    verdict(lesson, here, f"{why}, {default:.0f} MB with today's default.")


def verdicts() -> pandas.DataFrame:
    """Return a table of this notebook's verdicts: the claim, and what it came to in both places."""
    import pandas

    pandas.set_option("display.max_colwidth", None)
    return pandas.DataFrame.from_dict(_given, orient="index")
