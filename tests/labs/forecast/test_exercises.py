"""The exercises about seconds and prices tell right answers from wrong ones."""

import pytest

from helpers import Measurement
from labs.forecast import exercises


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
