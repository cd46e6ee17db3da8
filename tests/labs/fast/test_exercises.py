"""The checks of the exercises on faster generation."""

import pandas
import pytest

from labs.fast.exercises import fewest_guided, pays_off_after, shares_of_peak


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (0, "Not yet: 0 images save 0.0 s"),
        (9, "Right: 9 images save 1.8 s, and the wait was 2.0 s"),
        (12, "Not yet: the wait is earned back long before image 12"),
    ],
)
def test_when_a_wait_pays_off(answer, message):
    assert pays_off_after(answer, wait=2.0, before=0.4, after=0.2).startswith(message)
    assert pays_off_after(answer, 2.0, 0.4, 0.4).startswith("Not yet: here an image takes no less")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (6, "Right: 6 guided steps keep 90.0%, and all 20 have 90.5%"),
        (5, "Not yet: with 5 guided steps the adherence is 50.0%"),
        (9, "Not yet: 9 guided steps are enough, but one fewer is too"),
        (20, "Not yet: try between 1 and 19"),
    ],
)
def test_the_fewest_guided_steps(answer, message):
    found = fewest_guided(answer, lambda guided: 0.5 if guided < 6 else 0.9 + 0.005 * (guided > 19))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0.523, 0.109, 0.218], "Right: row A would take 52%, and the next one takes 22%."),
        ([0.523, 0.218, 0.218], "Not yet: row B is not 22% of the peak"),
        ([0.523], "Not yet: there are 3 rows, and 1 shares."),
        (["half", 0.1, 0.2], "Not yet: with this answer the call raises "),
    ],
)
def test_the_shares_of_a_peak(answer, message):
    columns = {"seconds": [2.0, 2.0, 1.0], "peak (TFLOP/s)": [65.0, 312.0, 312.0]}
    figures = pandas.DataFrame(columns, index=list("ABC"))
    assert shares_of_peak(answer, figures, tflop=68).startswith(message)
