"""A share of a sweep: which pictures are drawn together, and what happens when they cannot be."""

import os

import pytest
import torch
from PIL import Image

from helpers import image_distance
from labs.images import read_settings
from labs.images.describing import describe_settings
from labs.images.drawing import draw
from labs.sweeps import drawing
from labs.sweeps.drawing import draw_share, find_batch
from labs.sweeps.jobs import name_of


@pytest.fixture
def calls(pipeline, monkeypatch):
    """The prompts' number of each call of the pipeline that succeeded."""
    sizes, kind = [], type(pipeline)
    call = kind.__call__

    def counted(self, *args, **kwargs):
        output = call(self, *args, **kwargs)
        sizes.append(len(output.images))
        return output

    monkeypatch.setattr(kind, "__call__", counted)
    return sizes


def settings_of(pipeline, count, **changes):
    changes = {"num_inference_steps": 2} | changes
    return [describe_settings(pipeline, f"a knight {n}", seed=n, **changes) for n in range(count)]


def test_alike_are_drawn_together_and_each_as_it_would_be_alone(pipeline, calls, tmp_path):
    others = [{"scheduler": "DDIMScheduler"}, {"guidance_scale": 1.0}, {"height": 64}]
    others += [{"num_inference_steps": 3}, {"negative_prompt": "smiling"}]
    groups = [settings_of(pipeline, 2, **other) for other in others]
    mixed = [settings for pair in zip(*groups, strict=True) for settings in pair]
    mixed += settings_of(pipeline, 3)
    assert draw_share(pipeline, mixed, tmp_path, batch_size=4) == {}
    # Two with a negative prompt and three without are drawn by four and one.
    assert sorted(calls) == [1, 2, 2, 2, 2, 4]
    for settings in mixed:
        path = tmp_path / name_of(settings)
        alone = draw(pipeline, settings, lambda *_: True)
        with Image.open(path) as image:
            assert image_distance(image, alone) < 2
            assert float(image.info["seconds"]) > 0
        assert read_settings(path) == settings
    assert len(list(tmp_path.iterdir())) == len(mixed)


def test_each_text_is_read_once(pipeline, monkeypatch, tmp_path):
    texts, encode = [], type(pipeline).encode_prompt

    def noted(self, prompt, *args, **kwargs):
        texts.extend([prompt] if isinstance(prompt, str) else prompt or [])
        return encode(self, prompt, *args, **kwargs)

    monkeypatch.setattr(type(pipeline), "encode_prompt", noted)
    share = [describe_settings(pipeline, "a knight", seed=n, num_inference_steps=1) for n in (0, 1)]
    draw_share(pipeline, share + settings_of(pipeline, 2), tmp_path, batch_size=1)
    assert sorted(text for text in texts if text is not None) == [
        "", "a knight", "a knight 0", "a knight 1",
    ]  # fmt: skip


@pytest.mark.parametrize("fits", [1, 3])
def test_a_batch_that_memory_does_not_hold_is_halved(pipeline, calls, monkeypatch, tmp_path, fits):
    decode = pipeline.vae.decode

    def limited(latents, *args, **kwargs):
        if len(latents) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return decode(latents, *args, **kwargs)

    monkeypatch.setattr(pipeline.vae, "decode", limited)
    share = settings_of(pipeline, 7)
    assert draw_share(pipeline, share, tmp_path, batch_size=7) == {}
    assert calls == ([3, 3, 1] if fits == 3 else 7 * [1])
    assert len(list(tmp_path.iterdir())) == 7


def test_one_that_cannot_be_drawn_keeps_no_other_from_it(pipeline, calls, monkeypatch, tmp_path):
    make = drawing.make_generators

    def picky(seeds):
        seeds = list(seeds)
        if 2 in seeds:
            raise ZeroDivisionError("two")
        return make(seeds)

    monkeypatch.setattr(drawing, "make_generators", picky)
    share = settings_of(pipeline, 6)
    assert draw_share(pipeline, share, tmp_path, batch_size=6) == {name_of(share[2]): "two"}
    assert sum(calls) == 5
    assert len(list(tmp_path.iterdir())) == 5


def test_the_batch_is_what_memory_holds(pipeline, monkeypatch):
    import psutil

    (settings,) = settings_of(pipeline, 1)
    assert find_batch(pipeline, settings, 100) == drawing.MOST["cpu"]
    assert find_batch(pipeline, settings, 2) == 2
    free = psutil.virtual_memory()._replace(available=80e6)  # a picture takes some 9 MB
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    alone = find_batch(pipeline, settings, 100)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert 1 <= find_batch(pipeline, settings, 100) < alone < drawing.MOST["cpu"]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=0))
    assert find_batch(pipeline, settings, 100) == 1


def test_what_cannot_be_written_leaves_nothing_behind(pipeline, monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="is full: make room, and run the same again"):
        draw_share(pipeline, settings_of(pipeline, 1), tmp_path, batch_size=1)
    assert list(tmp_path.iterdir()) == []
