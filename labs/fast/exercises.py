"""Checks of the exercises on faster sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from helpers.lessons.exercises import POINT, checks

if TYPE_CHECKING:
    import pandas


@checks(int, "a number of pictures")
def pays_off_after(answer: int, wait: float, before: float, after: float) -> str:
    """Is this the first picture by which a wait has been earned back, give or take one?

    Args:
        answer: a number of pictures.
        wait: the seconds that getting ready took longer.
        before, after: the seconds a picture, without the change and with it.

    Example:
        >>> pays_off_after(3, wait=2.0, before=0.4, after=0.2)
        'Not yet: 3 pictures save 0.6 s, and the wait was 2.0 s.'
    """
    saved = before - after
    if saved <= 0:
        return "Not yet: here a picture takes no less time than before. Measure again."
    said = f"{answer} pictures save {answer * saved:.1f} s, and the wait was {wait:.1f} s."
    if abs(answer - max(0.0, wait) / saved) <= 1:
        return f"Right: {said}"
    if answer * saved < wait:
        return f"Not yet: {said}"
    return f"Not yet: by picture {answer} the wait has long been earned back. Which is the first?"


@checks(list, "a list of shares, such as [0.1, 0.2, 0.3, 0.4, 0.5]")
def shares_of_peak(answer: list[float], figures: pandas.DataFrame, tflop: float) -> str:
    """Are these the shares of its card's peak rate that each published time would take?

    Args:
        answer: a share for each row, in order.
        figures: published times, with "seconds" and the card's "peak (TFLOP/s)".
        tflop: the work of a picture, in 10^12 operations.

    Example:
        >>> import pandas
        >>> figures = pandas.DataFrame({"seconds": [2.0], "peak (TFLOP/s)": [65.0]}, index=["A"])
        >>> shares_of_peak([0.25], figures, tflop=68)
        'Not yet: row A is not 25% of the peak. Divide the work by the seconds, then by the peak.'
    """
    if len(answer) != len(figures):
        return f"Not yet: there are {len(figures)} rows, and {len(answer)} shares."
    shares = tflop / figures["seconds"] / figures["peak (TFLOP/s)"]
    for name, given in zip(figures.index, answer, strict=True):
        if abs(given - shares[name]) > 0.02 * shares[name] + 0.005:
            how = "Divide the work by the seconds, then by the peak."
            return f"Not yet: row {name} is not {given:.0%} of the peak. {how}"
    first, second = shares.nlargest(2).items()
    said = f"would take {first[1]:.0%}, and the next one takes {second[1]:.0%}."
    return f"Right: row {first[0]} {said}"


@checks(int, "a number of guided steps")
def fewest_guided(answer: int, found: Callable[[int], float], steps: int = 20) -> str:
    """Is this the fewest guided steps that keep the adherence within a point?

    Args:
        answer: after how many steps guidance ends.
        found: the adherence, 0 to 1, with a number of guided steps.
        steps: how many there are.

    Example:
        >>> fewest_guided(4, lambda guided: 0.9 if guided > 5 else 0.8)
        'Not yet: with 4 guided steps the adherence is 80.0%, with all 20 it is 90.0%.'
    """
    if not 1 <= answer < steps:
        return f"Not yet: look between 1 and {steps - 1} guided steps."
    bar, here = found(steps), found(answer)
    if here < bar - POINT:
        said = f"with {answer} guided steps the adherence is {here:.1%}"
        return f"Not yet: {said}, with all {steps} it is {bar:.1%}."
    if answer > 1 and found(answer - 1) >= bar - POINT:
        return f"Not yet: {answer} guided steps are enough, but one fewer is too."
    return f"Right: {answer} guided steps keep {here:.1%}, and all {steps} have {bar:.1%}."
