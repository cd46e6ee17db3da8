"""Images in rows: no name is cut off."""

import numpy as np
import pytest
from PIL import Image

from helpers.lessons.plots import plot_images

RED = Image.new("RGB", (64, 64), "red")


@pytest.mark.parametrize("columns", [1, 4])
def test_the_name_of_a_row_is_not_cut_off(columns):
    rows = {"the long name of a row": columns * [RED], "below": columns * [RED]}
    edges = np.asarray(plot_images(rows, columns * ["name"]))[:, [0, -1]]
    assert (edges == 255).all()
