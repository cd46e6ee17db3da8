"""The checks of the exercises on choosing a GPU."""

import pytest

from helpers import Measurement
from labs.forecast import exercises, what_will_it_take


def test_the_cheapest_card_in_time():
    prices = {"T4": 1, "RTX 4090": 2, "H100": 9}
    table = what_will_it_take("sd15-shape", 10_000, prices, batch_size=4)
    table.loc["P100-PCIE-16GB"] = ["too little memory"] + [None] * (table.shape[1] - 1)
    answers = {
        "T4": "Not yet: at worst the T4 takes",
        "H100": "Not yet: the H100 80GB HBM3 is done in time, and so is a cheaper card.",
        "RTX 3090": "Not yet: the table has no RTX 3090, only ",
        "P100": "Not yet: it does not surely fit on the P100-PCIE-16GB: too little memory.",
        "T5": "Not yet: with this answer the call raises ValueError: There is no 'T5'",
        "rtx 4090": "Right: the RTX 4090 takes ",
    }
    for answer, said in answers.items():
        assert exercises.cheapest_in_time(answer, table, hours=8).startswith(said)


def test_one_of_the_claimed_times_cannot_be():
    claims = exercises.claimed_times()
    said = {name: exercises.impossible_figure(name, claims) for name in claims.index}
    assert [name for name, text in said.items() if text.startswith("Right: ")] == ["B"]
    assert claims.loc["B", "gpu"] == "L4"
    assert exercises.impossible_figure("E", claims).startswith(
        "Not yet: with this answer the call raises"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (4.8, "Right: 4.80 s is 20% more than the 4.00 s that it took."),
        (3.2, "Right: 3.20 s is 20% less"),
        (5.2, "Not yet: 5.20 s is 30% more"),
        (0.0, "Not yet: 0.00 s is 100% less"),
    ],
)
def test_predicted_seconds(answer, said):
    took = Measurement("mine", [], 4.0, 0.1)
    assert exercises.predicted_seconds(answer, took).startswith(said)
