"""The checks of the exercises on faster sampling."""

import pandas
import pytest

from labs.fast import exercises


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (0, "Not yet: 0 pictures save 0.0 s"),
        (9, "Right: 9 pictures save 1.8 s, and the wait was 2.0 s"),
        (10, "Right: "),
        (12, "Not yet: by picture 12 the wait has long been earned back"),
    ],
)
def test_when_a_wait_pays_off(answer, said):
    check = exercises.pays_off_after
    assert check(answer, wait=2.0, before=0.4, after=0.2).startswith(said)
    assert check(answer, wait=2.0, before=0.4, after=0.4).startswith("Not yet: here a picture ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (6, "Right: 6 guided steps keep 90.0%, and all 20 have 90.5%"),
        (5, "Not yet: with 5 guided steps the adherence is 50.0%"),
        (9, "Not yet: 9 guided steps are enough, but one fewer is too"),
        (0, "Not yet: look between 1 and 19"),
        (20, "Not yet: look between 1 and 19"),
    ],
)
def test_the_fewest_guided_steps(answer, said):
    def found(guided):
        return 0.5 if guided < 6 else 0.9 if guided < 20 else 0.905

    assert exercises.fewest_guided(answer, found).startswith(said)


def test_the_shares_of_a_peak():
    columns = {"seconds": [2.0, 2.0, 1.0], "peak (TFLOP/s)": [65.0, 312.0, 312.0]}
    figures = pandas.DataFrame(columns, index=list("ABC"))

    def check(answer):
        return exercises.shares_of_peak(answer, figures, tflop=68)

    assert (
        check([0.523, 0.109, 0.218]) == "Right: row A would take 52%, and the next one takes 22%."
    )
    assert check([0.523, 0.218, 0.218]).startswith("Not yet: row B is not 22% of the peak")
    assert check([0.523]) == "Not yet: there are 3 rows, and 1 shares."
    assert check(["half", 0.1, 0.2]).startswith("Not yet: with this answer the call raises ")
