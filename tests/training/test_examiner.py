"""The second reader of pictures: its answers have the judge's form, whatever its weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import load_judge, read_attributes
from training import dataset, examiner
from training.judge import READ
from training.portraits import draw

PICTURES = [draw(dataset.spec_of(number)) for number in range(6)]


@pytest.fixture
def untrained():
    torch.manual_seed(0)
    return examiner.build()


def insist(model, attribute, value):
    """Have the model answer `value` whatever it sees."""
    place = [(name, one) for name, values in READ.items() for one in values]
    with torch.no_grad():
        model[-1].bias[place.index((attribute, value))] += 1000


def test_a_picture_gets_a_score_for_every_value_of_every_attribute(untrained) -> None:
    scores = examiner.by_attribute(untrained(torch.zeros(2, 3, 128, 128)))
    assert {name: part.shape for name, part in scores.items()} == {
        name: (2, len(values)) for name, values in READ.items()
    }


def test_it_reads_as_the_judge_does(untrained) -> None:
    read = examiner.read(PICTURES, untrained)
    assert read.shape == (len(PICTURES), len(READ))
    assert set(read_attributes(PICTURES[:1], load_judge(device="cpu")).columns) <= set(read.columns)
    for name, values in READ.items():
        assert set(read[name].dropna()) <= set(values)


@pytest.mark.parametrize("view", READ["view"])
def test_only_a_profile_faces_one_way(untrained, view: str) -> None:
    insist(untrained, "view", view)
    read = examiner.read(PICTURES, untrained)
    assert (read["view"] == view).all()
    assert (read["direction"].isna() == (view == "front")).all()


def test_many_pictures_are_read_as_each_alone(untrained, monkeypatch) -> None:
    together = examiner.read(PICTURES, untrained)
    monkeypatch.setattr(examiner, "AT_ONCE", 4)
    assert examiner.read(PICTURES, untrained).equals(together)
    insist(untrained, "age", "oldest")
    grey = [Image.new("L", (128, 128)), Image.new("RGBA", (128, 128))]
    assert list(examiner.read(grey, untrained)["age"]) == ["oldest", "oldest"]


def test_it_learns_from_drawings_that_are_not_held_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(examiner, "HELD_OUT", 4)
    seen = []
    monkeypatch.setattr(examiner, "spec_of", lambda n: seen.append(n) or dataset.spec_of(n))
    np.save(tmp_path / "pictures-6.npy", np.stack([np.asarray(p) for p in PICTURES]))
    monkeypatch.setattr(examiner, "SAMPLES", 64)
    trained = examiner.fit(tmp_path, torch.device("cpu"))
    assert set(seen) == {4, 5}
    assert all(parameter.isfinite().all() for parameter in trained.parameters())
    assert (tmp_path / "examiner.checkpoint.pt").exists()
