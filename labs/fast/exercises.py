"""Checks of the exercises on faster generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from helpers.lessons.exercises import POINT, checks

if TYPE_CHECKING:
    import pandas


@checks(int, "a number of images")
def pays_off_after(answer: int, wait: float, before: float, after: float) -> str:
    """Is this the first image, give or take one, by which a wait has been earned back?

    Args:
        wait: seconds that the preparation takes longer.
        before, after: seconds per image, without the change and with it.
    """
    saved = before - after
    if saved <= 0:
        return "Not yet: here an image takes no less time than before. Measure again."
    found = f"{answer} images save {answer * saved:.1f} s, and the wait was {wait:.1f} s."
    if abs(answer - max(0.0, wait) / saved) <= 1:
        return f"Right: {found}"
    if answer * saved < wait:
        return f"Not yet: {found}"
    return f"Not yet: the wait is earned back long before image {answer}. Which is the first?"


@checks(list, "a list of shares, such as [0.1, 0.2, 0.3, 0.4, 0.5]")
def shares_of_peak(answer: list[float], figures: pandas.DataFrame, tflop: float) -> str:
    """Are these the shares of its card's peak rate that each published time implies?

    Args:
        figures: published times, with "seconds" and the card's "peak (TFLOP/s)".
        tflop: the work for an image, in 10^12 operations.
    """
    if len(answer) != len(figures):
        return f"Not yet: there are {len(figures)} rows, and {len(answer)} shares."
    shares = tflop / figures["seconds"] / figures["peak (TFLOP/s)"]
    for name, given in zip(figures.index, answer, strict=True):
        if abs(given - shares[name]) > 0.02 * shares[name] + 0.005:
            advice = "Divide the work by the seconds, then by the peak."
            return f"Not yet: row {name} is not {given:.0%} of the peak. {advice}"
    (name, most), (_, second) = shares.nlargest(2).items()
    return f"Right: row {name} would take {most:.0%}, and the next one takes {second:.0%}."


@checks(int, "a number of guided steps")
def fewest_guided(answer: int, adherence: Callable[[int], float], steps: int = 20) -> str:
    """Is this the smallest number of guided steps that keeps the adherence within a point?

    Args:
        adherence: computes the adherence, 0 to 1, with a number of guided steps.
        steps: the number of all steps.
    """
    if not 1 <= answer < steps:
        return f"Not yet: try between 1 and {steps - 1} guided steps."
    target, reached = adherence(steps), adherence(answer)
    if reached < target - POINT:
        found = f"with {answer} guided steps the adherence is {reached:.1%}"
        return f"Not yet: {found}, with all {steps} it is {target:.1%}."
    if answer > 1 and adherence(answer - 1) >= target - POINT:
        return f"Not yet: {answer} guided steps are enough, but one fewer is too."
    return f"Right: {answer} guided steps keep {reached:.1%}, and all {steps} have {target:.1%}."
