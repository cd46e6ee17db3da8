"""Verdicts: they follow from what was measured, and name the claim and both places."""

import numpy as np
import pytest

from helpers.lessons import verdicts
from helpers.lessons.published import CLAIMS, VERDICTS
from helpers.timing import Measurement


def timed(speedup, noise=1.05, device="CPU", seconds=1.0):
    speedups = (speedup - 0.1, speedup, speedup + 0.1)
    return Measurement("new", [], seconds, 0.1, speedups=speedups, noise=noise, device=device)


ON_T4 = timed(1, device="Tesla T4", seconds=25)
SD15 = "stable-diffusion-v1-5"


@pytest.mark.parametrize(
    ("lesson", "measured", "here"),
    [
        ("L2", {"before": timed(1, device="CPU"), "after": timed(1, device="CPU")}, "not tested"),
        ("L2", {"before": timed(1, seconds=2), "after": timed(1, device="T4")}, "held"),
        ("L3", {"again": 20.0, "other": 70.0}, "contradicted"),
        ("L4", {"measured": timed(1), "model": "tiny-portraits"}, "not tested"),
        ("L4", {"measured": ON_T4, "model": SD15}, "held"),
        ("L5", {"measured": timed(2.5), "device": "cuda", "model": SD15}, "held"),
        ("L5", {"measured": timed(2.5), "device": "cpu", "model": "tiny-portraits"}, "not tested"),
        ("L7", {"needed": {"PNDM": 50, "DPM-Solver++": 20}, "near": 10}, "held"),
        ("L7", {"needed": {"PNDM": 20, "DPM-Solver++": 10}, "near": 10}, "mixed"),
        ("L7", {"needed": {"PNDM": 60, "DPM-Solver++": 30}, "near": 10}, "mixed"),
        ("L7", {"needed": {"PNDM": 20, "DPM-Solver++": 20}, "near": 10}, "contradicted"),
        ("L7", {"needed": {"PNDM": np.inf, "DPM-Solver++": 20}, "near": 10}, "held"),
        ("L7", {"needed": {"PNDM": 50, "DPM-Solver++": np.inf}, "near": 10}, "not tested"),
        ("L8", {"measured": timed(2.5)}, "held"),
        ("L8", {"measured": timed(1.5)}, "contradicted"),
        ("L8", {"measured": timed(2.5, noise=2.6)}, "not tested"),
        ("L10", {"scores": 40e9, "weights": 2.1e9}, "held"),
        ("L10", {"scores": 1e9, "weights": 2.1e9}, "contradicted"),
        ("L11", {"sliced": 50, "classic": 100, "default": 100, "timed": timed(1)}, "held"),
        ("L11", {"sliced": 50, "classic": 100, "default": 100, "timed": timed(0.5)}, "mixed"),
        ("L11", {"sliced": 50, "classic": 100, "default": 50, "timed": timed(1)}, "mixed"),
        ("L11", {"sliced": 100, "classic": 100, "default": 50, "timed": timed(1)}, "contradicted"),
        ("L12", {"scores": {"a": (1.0, 1.0), "b": (0.9, 0.5)}}, "held"),
        ("L12", {"scores": {"a": (0.8, 1.0), "b": (0.9, 0.88)}}, "contradicted"),
        ("L13", {"psnr": (27.0, 26.0), "edges": (0.8, 1.02)}, "mixed"),
        ("L13", {"psnr": np.array([26.0, 27.0]), "edges": np.array([0.8, 1.02])}, "held"),
        ("L14", {"short": 0.5, "whole": 0.99}, "held"),
        ("L14", {"short": 0.97, "whole": 0.99}, "contradicted"),
        ("L15", {"right": 8, "same": 7, "seeds": 8}, "held"),
        ("L15", {"right": 8, "same": 4, "seeds": 8}, "mixed"),
        ("L16", {"measured": timed(1.3), "wait": 60.0}, "held"),
        ("L16", {"measured": timed(1.0), "wait": 60.0}, "contradicted"),
        ("L16", {"measured": timed(1.1, noise=1.2), "wait": 60.0}, "not tested"),
        ("L16", {"measured": None, "wait": 0.0}, "not tested"),
        ("L17", {"measured": timed(1.0, noise=1.01)}, "contradicted"),
        ("L17", {"measured": timed(1.1, noise=1.2)}, "not tested"),
        ("L17", {"measured": None}, "not tested"),
    ],
)
def test_a_verdict_follows_from_what_was_measured(capsys, lesson, measured, here):
    verdicts.verdict(lesson, **measured)
    claim, mine, elsewhere = capsys.readouterr().out.splitlines()
    assert claim == f"{lesson} claim: {CLAIMS[lesson].text}"
    assert mine.startswith(f"{lesson} here: {here}: ") and mine.endswith(".")
    assert elsewhere.startswith(f"{lesson} elsewhere: {CLAIMS[lesson].elsewhere}: ")
    assert len(elsewhere) > 40


def test_every_claim_has_a_rule_and_a_known_verdict_elsewhere():
    assert list(verdicts.RULES) == list(CLAIMS)
    assert {claim.elsewhere for claim in CLAIMS.values()} <= set(VERDICTS)


def test_the_table_keeps_what_was_printed():
    verdicts.verdict("L9", distance=0.0)
    row = verdicts.verdicts().loc["L9"]
    assert row["claim"] == CLAIMS["L9"].text and row["here"].startswith("held: ")
