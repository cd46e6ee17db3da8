"""The exercises about seconds and prices tell right answers from wrong ones."""

from helpers import Measurement
from labs.forecast import exercises


def test_one_of_the_claimed_times_is_impossible():
    claims = exercises.claimed_times()
    replies = {name: exercises.impossible_figure(name, claims) for name in claims.index}
    assert [name for name, reply in replies.items() if reply.startswith("Right: ")] == ["B"]
    assert exercises.impossible_figure("E", claims).startswith("Not yet: ")


def test_predicted_seconds():
    took = Measurement("mine", [], 1.0, 0.1)
    right, wrong = (exercises.predicted_seconds(answer, took) for answer in (1.2, 0.4))
    assert right.startswith("Right: 1.20 s is 20% more than the 1.00 s")
    assert wrong.startswith("Not yet: 0.40 s is 60% less")
