"""What `make evaluate` makes of readings, and what the card says of the figures."""

import numpy as np
import pandas as pd
import pytest

from helpers import wanted_attributes
from training import captions, card, dataset, evaluate
from training.judge import READ
from training.portraits import draw

TRUE = pd.DataFrame([vars(dataset.spec_of(number)) for number in range(40)], columns=list(READ))


def right(rows, share, make_up):
    """Readings of two attributes, of which shares are right."""
    wide = {"subject": np.arange(rows) < rows * share, "make_up": np.arange(rows) < rows * make_up}
    return pd.DataFrame(wide).astype("boolean")


def test_the_card_puts_the_figures_beside_their_aims_and_says_who_judges():
    names = (card.OTHERS, card.CRISP, card.SOFT, card.FINAL, card.FOUR_STEPS, card.EARLY,
             card.EARLY_CRISP)  # fmt: skip
    levels = {"fine": 100.0, "middle": 50.0, "coarse": 20.0, "edges": 1.0}
    sets = {name: dict(levels) for name in names}
    sets[card.CRISP]["fine"] = 25.0
    sets[card.EARLY] |= {"fine": 250.0, "middle": 150.0}
    answers = dict.fromkeys((card.UNSEEN, card.UNSEEN_4, card.FINAL), right(100, 1, 0.9))
    answers |= dict.fromkeys((card.PNDM_50, card.PNDM_10, card.EARLY), right(20, 1, 0.5))
    figures = card.Figures(
        textures=pd.DataFrame(sets).T, right=answers, seeds=2, megabytes=15.0,
        accuracy=pd.Series({"subject": 1.0, "direction": 0.995}), parts={"unet": 1234567},
        ages={"right": 1.0, "same": 0.5, "view": 1.0, "direction": 0.5},
        short=levels | {"bare": 0.94, "decoded": 0.98, "subject": 1.0},
        redraw={"l1": 1.5, "features": 3.0},
        styled={"styled": 37.0, "final": 88.0, "lost": 0.5},
    )  # fmt: skip
    values = {what.split(":")[0]: figure for what, figure, _ in card.rows(figures)}
    assert values["adherence"] == "95.0; 90.0 (make_up); 90.0"
    # Compared with the first 20 of the same prompts in 20 steps, which all came out right.
    assert values["PNDM, 50 steps"] == "25.0"
    assert values["early checkpoint"] == "25.0; 2.50 / 3.00 / 1.00"
    assert values["crisp decoder"] == "0.25; 0.40"
    assert values["2 seeds, four ages each"] == "100; 50 (direction 50)"
    text = card.text(figures, drawings=14_000, held_out=2_000, subjects="knight", machine="a CPU",
                     scale=7.5, all_size=30.0)  # fmt: skip
    assert "| early checkpoint | 250 | 150 | 20 | 1.0 |" in text
    assert "nan" not in text.lower().split()


def test_accuracy_counts_what_was_read_correctly_and_the_direction_of_profiles_alone():
    read = TRUE.copy()
    read["direction"] = read["direction"].where(read["view"] == "side", None)
    assert (evaluate.accuracy(read) == 1).all()
    first = read.index[read["view"] == "side"][0]
    other = {"left": "right", "right": "left"}[read.loc[first, "direction"]]
    read.loc[first, ["direction", "age"]] = [other, "unheard of"]
    wrong = evaluate.accuracy(read)
    assert wrong["direction"] == pytest.approx(1 - 1 / (read["view"] == "side").sum())
    assert wrong["age"] == pytest.approx(1 - 1 / len(read))


def test_short_prompts_ask_for_bare_faces_that_their_specifications_show():
    specs, prompts = evaluate.short_prompts(60)
    for spec, prompt in zip(specs, prompts, strict=True):
        wanted = wanted_attributes(prompt, captions.VOCABULARY)
        assert wanted == {name: getattr(spec, name) for name in wanted}
        assert wanted["make_up"] == "none"
        assert len(wanted.keys() - {"subject", "age", "make_up", "style"}) <= 2
    assert len(set(prompts)) > 40


def test_four_ages_are_right_or_not_and_the_composition_stays_or_not():
    row = {"view": "side", "direction": "left", "figure": "blue", "background": "red",
           "make_up": "panther"}  # fmt: skip
    read = pd.DataFrame([row | {"age": age} for _ in range(4) for age in evaluate.AGES])
    assert set(evaluate.ages_of(read).values()) == {1}
    read.loc[0, "direction"] = "right"  # of the first seed
    read.loc[5, "age"] = "oldest"  # of the second
    ages = evaluate.ages_of(read)
    assert (ages["right"], ages["same"], ages["direction"], ages["view"]) == (0.75, 0.75, 0.75, 1)


def test_bare_faces_have_wide_margins_and_painted_ones_none(judge):
    specs = [dataset.spec_of(number) for number in range(24)]
    margins = evaluate.bare_margins([draw(spec) for spec in specs], judge)
    bare = np.array([spec.make_up == "none" for spec in specs])
    assert margins[bare].min() > margins[~bare].max()


def test_redrawn_faces_differ_more_than_decoded_ones(embedded, judge, monkeypatch):
    drawings = np.stack([np.asarray(draw(dataset.spec_of(number))) for number in range(4)])
    monkeypatch.setitem(evaluate.REDRAW, "num_inference_steps", 8)
    found = evaluate.face_redraw(embedded, drawings, judge, 7.5)
    assert 1 < found["l1"] < 10
    assert found["features"] > 1
