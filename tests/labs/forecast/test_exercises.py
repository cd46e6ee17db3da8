"""The exercises about seconds and prices tell right answers from wrong ones."""

import pytest

from helpers import Measurement
from labs.forecast import exercises, what_will_it_take


def test_the_cheapest_card_in_time():
    prices = {"T4": 1, "RTX 4090": 2, "H100": 9}
    table = what_will_it_take("sd15-shape", 10_000, prices, batch_size=4)
    table.loc["P100-PCIE-16GB"] = ["too little memory"] + [None] * (table.shape[1] - 1)
    replies = {
        "T4": "Not yet: at worst the T4 takes",
        "H100": "Not yet: the H100 80GB HBM3 is done in time, and so is a cheaper card.",
        "RTX 3090": "Not yet: the table has no RTX 3090, only ",
        "P100": "Not yet: it does not surely fit on the P100-PCIE-16GB: too little memory.",
        "T5": "Not yet: ",
        "rtx 4090": "Right: at worst the RTX 4090 takes ",
    }
    for answer, reply in replies.items():
        assert exercises.cheapest_in_time(answer, table, hours=8).startswith(reply)


def test_one_of_the_claimed_times_is_impossible():
    claims = exercises.claimed_times()
    replies = {name: exercises.impossible_figure(name, claims) for name in claims.index}
    assert [name for name, reply in replies.items() if reply.startswith("Right: ")] == ["B"]
    assert exercises.impossible_figure("E", claims).startswith("Not yet: ")


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (1.2, "Right: 1.20 s is 20% more than the 1.00 s"),
        (0.5, "Not yet: 0.50 s is 50% less"),
    ],
)
def test_predicted_seconds(answer, reply):
    took = Measurement("mine", [], 1.0, 0.1)
    assert exercises.predicted_seconds(answer, took).startswith(reply)
