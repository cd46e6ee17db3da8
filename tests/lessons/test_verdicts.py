"""Verdicts: they follow from what was measured, and name both places."""

import pytest

from helpers.lessons import verdicts
from helpers.timing import Measurement


def said(capsys):
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("speedups", "tested", "here"),
    [
        ((2.4, 2.5, 2.6), True, "L8 here: held: new: 2.5x the baseline's speed;"),
        ((1.4, 1.5, 1.6), True, "L8 here: contradicted: new: 1.5x the baseline's speed;"),
        ((0.9, 1.0, 1.1), True, "L8 here: contradicted: new: 1.0x the baseline's speed (no"),
        ((2.4, 2.5, 2.6), False, "L8 here: not tested: new: 2.5x"),
    ],
)
def test_a_speedup_is_held_from_three_quarters_of_the_claim(capsys, speedups, tested, here):
    measured = Measurement("new", [], 1.0, 0.1, speedups=speedups, noise=1.05)
    verdicts.speedup_verdict("L8", measured, claimed=2.75, tested=tested)
    assert said(capsys).startswith(here)


@pytest.mark.parametrize(
    ("pndm", "solver", "here"),
    [(50, 20, "held"), (20, 10, "mixed"), (60, 30, "mixed"), (20, 20, "contradicted")],
)
def test_steps_that_two_schedulers_need(capsys, pndm, solver, here):
    needed = {"PNDM": pndm, "DPM-Solver++": solver}
    verdicts.steps_verdict("L7", needed, claimed=25, limit=10)
    assert said(capsys).startswith(f"L7 here: {here}: ")


@pytest.mark.parametrize(
    ("sliced", "classic", "default", "here"),
    [(50, 100, 100, "held"), (50, 100, 50, "mixed"), (100, 100, 50, "contradicted")],
)
def test_what_slicing_saves(capsys, sliced, classic, default, here):
    verdicts.memory_verdict("L11", sliced, classic, default)
    assert said(capsys).startswith(f"L11 here: {here}: by count of live tensors, {sliced} MB")


def test_an_unknown_lesson_or_verdict_is_refused():
    with pytest.raises(ValueError, match="L1"):
        verdicts.verdict("L1", "held", "it loads")
    with pytest.raises(ValueError, match="choose held"):
        verdicts.verdict("L7", "true", "it is")
