"""Checks of the exercises on faster generation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from helpers.lessons.exercises import checks


@checks(float, "a number, such as 1.5")
def largest_speedup(answer: float, share: float, every: int) -> str:
    """Is this the speedup if a share of the work is done at every n-th step only?"""
    expected = 1 / (1 - share + share / every)
    if abs(answer - every) < 0.01:
        return f"Not yet: {every} would be reached only if the other blocks took no time."
    if abs(answer - expected) > 0.01 * expected:
        return f"Not yet: {answer:.2f}. How much of the work is left, if all of it is 1?"
    return f"Right: {1 / expected:.0%} of the work is left, so at most {expected:.2f}x."


@checks(Callable, "a function")  # type: ignore[arg-type]
def rounds_by_rows(
    answer: Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]],
    weight: torch.Tensor,
    bits: tuple[int, ...] = (8, 4),
) -> str:
    """Does this function round a matrix to whole numbers, with a scale for each row?

    Args:
        answer: takes a matrix and a number of bits; returns the whole numbers, and the scales to
            multiply them by.
    """
    weight, errors = weight.detach(), []
    for count in bits:
        integers, scale = answer(weight, count)
        largest = 2 ** (count - 1) - 1
        if integers.is_floating_point() and not torch.equal(integers, integers.round()):
            return "Not yet: these are no whole numbers. Round them."
        if scale.shape not in {(len(weight), 1), (len(weight),)}:
            return f"Not yet: {len(weight)} rows need as many scales, not {list(scale.shape)}."
        reached = integers.abs().amax(dim=1)
        if reached.max() > largest:
            return f"Not yet: with {count} bits the largest is {largest}, not {reached.max():.0f}."
        if reached.min() < largest:
            return f"Not yet: with {count} bits the largest of every row should become {largest}."
        restored = integers * scale.reshape(-1, 1)
        errors.append(float((restored - weight).norm() / weight.norm()))
        if (restored - weight).abs().gt(0.501 * scale.reshape(-1, 1)).any():
            return "Not yet: multiplied by the scales, they are not the matrix again."
    found = " and ".join(
        f"{error:.1%} with {n} bits" for n, error in zip(bits, errors, strict=True)
    )
    return f"Right: the error is {found}."


@checks(int, "a number of guided steps")
def fewest_guided(answer: int, adherence: Callable[[int], float], steps: int = 20) -> str:
    """Is this the smallest number of guided steps that loses at most two points of adherence?

    Args:
        adherence: computes the adherence, 0 to 1, with a number of guided steps.
        steps: the number of all steps.
    """
    if not 1 <= answer < steps:
        return f"Not yet: try between 1 and {steps - 1} guided steps."
    target, reached = adherence(steps) - 0.02, adherence(answer)
    if reached < target:
        return f"Not yet: with {answer} guided steps it is {reached:.1%}, below {target:.1%}."
    if answer > 1 and adherence(answer - 1) >= target:
        return f"Not yet: {answer} guided steps are enough, but one fewer is too."
    return (
        f"Right: {answer} guided steps keep {reached:.1%}, and one fewer falls below {target:.1%}."
    )
