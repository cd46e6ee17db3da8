"""Checks of the exercises on faster generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from helpers.lessons.exercises import Function, checks, require


@checks(float, "a number, such as 1.5")
def largest_speedup(answer: float, share: float, every: int) -> str:
    """Is this the speedup if a share of the work is done at every n-th step only?"""
    left = 1 - share + share / every
    hint = f"{every} would be reached only if the other blocks took no time."
    require(abs(answer - every) >= 0.01, hint)
    hint = f"{answer:.2f}. How much of the work is left, if all of it is 1?"
    require(abs(answer * left - 1) <= 0.01, hint)
    return f"{left:.0%} of the work is left, so at most {1 / left:.2f}x."


@checks(Callable, "a function")
def rounds_by_rows(answer: Function, weight: torch.Tensor, bits: Sequence[int] = (8, 4)) -> str:
    """Does this function round a matrix to whole numbers, with a scale for each row?

    Args:
        answer: takes a matrix and a number of bits; returns the whole numbers, and the scales to
            multiply them by.
    """
    weight, errors, rows = weight.detach(), [], len(weight)
    for count in bits:
        integers, scale = answer(weight, count)
        limit = 2 ** (count - 1) - 1
        whole = not integers.is_floating_point() or torch.equal(integers, integers.round())
        require(whole, "these are no whole numbers. Round them.")
        shapes = {(rows, 1), (rows,)}
        require(scale.shape in shapes, f"{rows} rows need as many scales, not {list(scale.shape)}.")
        reached = integers.abs().amax(dim=1)
        largest = f"with {count} bits the largest"
        require(reached.max() <= limit, f"{largest} is {limit}, not {reached.max():.0f}.")
        require(reached.min() >= limit, f"{largest} of every row should become {limit}.")
        scale = scale.reshape(-1, 1)
        change = integers * scale - weight
        restored = not change.abs().gt(0.501 * scale).any()
        require(restored, "multiplied by the scales, they are not the matrix again.")
        errors.append(f"{change.norm() / weight.norm():.1%} with {count} bits")
    return f"the error is {' and '.join(errors)}."


@checks(int, "a number of guided steps")
def fewest_guided(answer: int, adherence: Callable[[int], float], steps: int = 20) -> str:
    """Is this the smallest number of guided steps, of all, that loses at most two points of
    adherence, which is 0 to 1?"""
    require(1 <= answer < steps, f"try between 1 and {steps - 1} guided steps.")
    target, reached = adherence(steps) - 0.02, adherence(answer)
    hint = f"with {answer} guided steps it is {reached:.1%}, below {target:.1%}."
    require(reached >= target, hint)
    smallest = answer == 1 or adherence(answer - 1) < target
    require(smallest, f"{answer} guided steps are enough, but one fewer is too.")
    return f"{answer} guided steps keep {reached:.1%}, and one fewer falls below {target:.1%}."
