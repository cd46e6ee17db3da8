"""The checks of the exercises on faster generation."""

import re

import pytest
import torch

from labs.fast.exercises import fewest_guided, largest_speedup, rounds_by_rows


def test_the_largest_speedup():
    assert "Not yet: 3 would be reached only if" in largest_speedup(3, share=0.6, every=3)
    assert "Not yet: 2.00. How much of the work" in largest_speedup(2.0, share=0.6, every=3)


def rounded(matrix, bits, dim=1):
    scale = matrix.abs().amax(dim=dim, keepdim=True) / (2 ** (bits - 1) - 1)
    return (matrix / scale).round(), scale


def one_scale(matrix, bits):
    integers, scale = rounded(matrix.reshape(1, -1), bits)
    return integers.view_as(matrix), scale.expand(len(matrix), 1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda matrix, bits: rounded(matrix, 8), "Not yet: with 4 bits the largest is 7, not 127"),
        (lambda matrix, bits: rounded(matrix, bits, 0), "Not yet: 8 rows need as many scales"),
        (one_scale, "Not yet: with 8 bits the largest of every row should become 127"),
        (lambda matrix, bits: (matrix, matrix[:, :1]), "Not yet: these are no whole numbers"),
        (lambda matrix, bits: (rounded(matrix, bits)[0], torch.ones(8, 1)), "Not yet: multiplied"),
    ],
)
def test_a_matrix_is_rounded_by_rows(answer, message):
    matrix = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    assert re.match(message, rounds_by_rows(answer, matrix))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (6, "Right: 6 guided steps keep 90.0%, and one fewer falls below 88.5%"),
        (5, "Not yet: with 5 guided steps it is 50.0%, below 88.5%"),
        (9, "Not yet: 9 guided steps are enough, but one fewer is too"),
        (20, "Not yet: try between 1 and 19"),
    ],
)
def test_the_fewest_guided_steps(answer, message):
    found = fewest_guided(answer, lambda guided: 0.5 if guided < 6 else 0.9 + 0.005 * (guided > 19))
    assert found.startswith(message)
