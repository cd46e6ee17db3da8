"""What `make evaluate` makes of readings, and what the card says of the figures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import wanted_attributes
from training import captions, card, dataset, evaluate
from training.judge import READ
from training.portraits import VALUES, draw

TRUE = pd.DataFrame([vars(dataset.spec_of(number)) for number in range(40)], columns=list(READ))


def right(rows, share, make_up):
    """Readings of two attributes, of which shares are right."""
    wide = {"subject": np.arange(rows) < rows * share, "make_up": np.arange(rows) < rows * make_up}
    return pd.DataFrame(wide).astype("boolean")


@pytest.fixture
def figures():
    levels = {"fine": 100.0, "middle": 50.0, "coarse": 20.0, "edges": 1.0}
    names = (card.AGAIN, card.SHIPPED, card.SOFT, card.DRAWN, card.DRAWN_FOUR, card.DRAWN_EARLY,
             card.EARLY_CRISP)  # fmt: skip
    sets = {name: dict(levels) for name in names}
    sets[card.SHIPPED]["fine"] = 25.0
    sets[card.DRAWN_EARLY] = {"fine": 250.0, "middle": 150.0, "coarse": 20.0, "edges": 0.8}
    both = {"judge": right(100, 1, 0.9), "examiner": right(100, 0.8, 1)}
    answers = dict.fromkeys((card.UNSEEN, card.FOUR, card.FINAL), both)
    answers |= {name: {"judge": right(20, 1, 0.5), "examiner": right(20, 1, 1)}
                for name in (card.PNDM_50, card.PNDM_10, card.EARLY)}  # fmt: skip
    return card.Figures(
        textures=pd.DataFrame(sets).T, right=answers, seeds=2, seconds=0.5, size=15.0, tree=50.0,
        accuracy=pd.DataFrame({"judge": {"subject": 1.0, "direction": 0.995}}),
        ages={
            "judge": {"right": 1.0, "kept": 0.5, "view": 1.0, "direction": 0.5},
            "examiner": {"right": 0.5, "kept": 1.0, "view": 1.0},
        },
        spread=pd.DataFrame({"the model": {"view": 0.1}}),
        differences={"again": 0, "in a batch": 1}, parts={"unet": 1234567},
    )  # fmt: skip


def test_the_bars_stand_beside_what_was_measured(figures) -> None:
    said = {what: (figure, bar) for what, figure, bar in card.rows(figures)}
    assert said["SWD of pictures drawn"] == ("100 / 50 / 20", "70 / 60 / 20")
    assert said["SWD through the decoder"][0] == "25 / 50 / 20"
    assert said["adherence by the judge: mean; lowest attribute; make-up"] == (
        "95.0; 90.0 (make_up); 90.0",
        "99; 93; 93",
    )
    assert said["the same by the examiner"][0] == "90.0; 80.0 (subject); 100.0"
    # Beside the same prompts in 20 steps, the first 20 of 100, of which all came out right.
    assert said["PNDM, 50 steps: adherence lost"][0] == "25.0"
    early = next(figure for what, (figure, _) in said.items() if what.startswith("early"))
    assert early == "25.0; 2.50 / 3.00 / 1.00"
    crisp = next(figure for what, (figure, _) in said.items() if what.startswith("crisp"))
    assert crisp == "0.25; 0.40"
    ages = [figure for what, (figure, _) in said.items() if what.startswith("of 2 seeds")]
    assert ages == ["100; 50", "50 (direction 50); 100 (view 100)"]


def test_the_card_says_who_took_part_in_the_training(figures) -> None:
    text = card.text(
        figures, drawings=14_000, held_out=2_000, subjects="knight", machine="one core", scale=7.5,
        all_size=30.0,
    )  # fmt: skip
    assert "14,000 drawings" in text
    assert "took part in the training" in text
    assert "The examiner did not" in text
    assert "| unet | 1,234,567 |" in text
    assert "| drawn, early checkpoint | 250 | 150 | 20 | 0.8 |" in text
    assert "nan" not in text.lower().split()


def test_what_was_read_rightly_counts_and_no_prompt_says_where_a_profile_faces() -> None:
    read = TRUE.copy()
    read["direction"] = read["direction"].where(read["view"] == "side", None)
    assert (evaluate.accuracy(read) == 1).all()
    prompts = evaluate.own_captions(len(read))
    assert evaluate.followed(read, prompts).all(axis=None)
    assert "direction" not in evaluate.followed(read, prompts)

    first = read.index[read["view"] == "side"][0]
    other = {"left": "right", "right": "left"}[read.loc[first, "direction"]]
    read.loc[first, ["direction", "age"]] = [other, "unheard of"]
    wrong = evaluate.accuracy(read)
    assert wrong["direction"] == pytest.approx(1 - 1 / (read["view"] == "side").sum())
    assert wrong["age"] == pytest.approx(1 - 1 / len(read))
    assert evaluate.followed(read, prompts).sum().sum() == len(read) * len(VALUES) - 1


def test_a_prompt_leaves_open_what_it_does_not_name() -> None:
    right = evaluate.followed(TRUE[:1], ["portrait of a knight"])
    assert list(right.columns[right.notna().all()]) == ["subject", "age", "make_up", "style"]


def test_own_captions_name_every_attribute() -> None:
    for number, text in enumerate(evaluate.own_captions(30)):
        spec = vars(dataset.spec_of(number))
        wanted = wanted_attributes(text, captions.VOCABULARY)
        assert wanted == {name: spec[name] for name in VALUES}


def test_four_ages_are_right_or_not_and_the_composition_stays_or_not() -> None:
    one = {"view": "side", "direction": "left", "figure": "blue", "background": "red",
           "make_up": "panther"}  # fmt: skip
    read = pd.DataFrame([one | {"age": age} for _ in range(4) for age in evaluate.AGES])
    assert set(evaluate.ages_of(read).values()) == {1}
    read.loc[0, "direction"] = "right"  # of the first seed
    read.loc[5, "age"] = "oldest"  # of the second
    ages = evaluate.ages_of(read)
    assert (ages["right"], ages["kept"], ages["direction"], ages["view"]) == (0.75, 0.75, 0.75, 1)
    read.loc[8:11, ["view", "direction"]] = ["front", None]  # of the third: all alike
    assert evaluate.ages_of(read)["kept"] == 0.75


def test_drawings_are_like_themselves_and_blurred_ones_have_weaker_edges() -> None:
    drawings = np.stack([np.asarray(draw(dataset.spec_of(number))) for number in range(4)])
    small = [i.resize((64, 64)).resize((128, 128)) for i in evaluate.to_images(drawings)]
    found = evaluate.textures({"same": evaluate.to_images(drawings), "soft": small}, drawings)
    assert found.loc["same", "edges"] == 1
    assert found.loc["soft", "edges"] < 0.95
    assert found.loc["soft", "fine"] > found.loc["same", "fine"]


def test_what_the_autoencoder_is_given_comes_back(embedded) -> None:
    drawings = np.stack([np.asarray(draw(dataset.spec_of(number))) for number in range(2)])
    latents = evaluate.encode(embedded.vae, drawings)
    assert abs(np.asarray([latent.std() for latent in latents]).mean() - 0.5) < 0.2
    made = evaluate.decode(embedded.vae, latents)
    assert [type(image) for image in made] == [Image.Image] * 2
    error = np.abs(np.stack([np.asarray(image, float) for image in made]) - drawings).mean()
    assert error < 20  # of 255
