"""A share of a sweep: which images are generated together, and what happens when they cannot be."""

import pytest
import torch
from PIL import Image

from helpers import MODELS_FOLDER, image_distance, load_pipeline
from labs.images import read_settings
from labs.images.describe import describe_settings
from labs.images.generate import generate
from labs.sweeps import generating
from labs.sweeps.generating import generate_share, shared_settings
from labs.sweeps.jobs import describe_jobs, name_of


def record_batches(monkeypatch, fails=lambda seeds: False, error=None):
    """Return the sizes of all batches tried; let those fail whose seeds a function says do."""
    tried = []

    def recorded(pipeline, batch):
        tried.append(len(batch))
        if fails([settings.seed for settings in batch]):
            raise error
        if error:  # only the numbers of images matter
            return [Image.new("RGB", (128, 128), "red")] * len(batch)
        return generate(pipeline, batch)

    monkeypatch.setattr(generating, "generate", recorded)
    return tried


def settings_of(pipeline, count, **changes):
    changes = {"num_inference_steps": 2} | changes
    return [describe_settings(pipeline, f"a knight {n}", seed=n, **changes) for n in range(count)]


def limits_of(share, batch_size):
    return {(settings.height, settings.width): batch_size for settings in share}


def test_alike_are_generated_together_and_each_as_it_would_be_alone(
    pipeline, monkeypatch, tmp_path
):
    tried = record_batches(monkeypatch)
    others = [{"scheduler": "DDIMScheduler"}, {"height": 64}, {"negative_prompt": "smiling"}]
    share = [settings for other in others for settings in settings_of(pipeline, 2, **other)]
    share = sorted(share + settings_of(pipeline, 3), key=shared_settings)
    assert generate_share(pipeline, share, tmp_path, limits_of(share, 4)) == {}
    assert sorted(tried) == [2, 2, 2, 3]
    for settings in share:
        path = tmp_path / name_of(settings)
        with Image.open(path) as image:
            assert image_distance(image, generate(pipeline, [settings])[0]) < 2
            assert float(image.info["seconds"]) > 0
        assert read_settings(path) == settings


def test_a_black_image_is_named(pipeline, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(generating, "generate", lambda *_: [Image.new("RGB", (128, 128))])
    (settings,) = share = settings_of(pipeline, 1)
    assert generate_share(pipeline, share, tmp_path, limits_of(share, 1)) == {}
    assert f"{name_of(settings)} is black" in capsys.readouterr().out


def test_lora_weights_of_each_job_are_on_for_it_alone(tmp_path):
    pipeline = load_pipeline("tiny-portraits", device="cpu")
    lora = {"lora": "tiny-portraits-lcm", "num_inference_steps": 2}
    jobs = [{"prompt": "a", **lora, "lora_strength": n} for n in (1.0, 0.3)]
    jobs += [{"prompt": "a", "num_inference_steps": 2}]
    wanted, _ = describe_jobs(jobs, pipeline)
    settings = list(wanted.values())
    share = sorted(settings, key=shared_settings)
    assert generate_share(pipeline, share, tmp_path, limits_of(share, 4)) == {}
    full, weak, without = (Image.open(tmp_path / name) for name in wanted)
    plain = load_pipeline("tiny-portraits", device="cpu")
    assert image_distance(without, generate(plain, settings[2:])[0]) == 0
    plain.load_lora_weights(MODELS_FOLDER / "tiny-portraits-lcm")
    assert image_distance(full, generate(plain, settings[:1])[0]) < 0.1
    assert image_distance(full, weak) > 0.1


@pytest.mark.parametrize(("fits", "expected"), [(1, [7, 3, *7 * [1]]), (3, [7, 3, 2, 2])])
def test_a_batch_that_memory_does_not_hold_is_halved_and_its_size_remembered(
    pipeline, monkeypatch, tmp_path, fits, expected
):
    tried = record_batches(monkeypatch, lambda seeds: len(seeds) > fits, torch.OutOfMemoryError())
    share = settings_of(pipeline, 7)
    assert generate_share(pipeline, share, tmp_path, limits_of(share, 7)) == {}
    assert tried == expected
    assert len(list(tmp_path.iterdir())) == 7


def test_one_that_fails_keeps_no_other_from_being_generated(pipeline, monkeypatch, tmp_path):
    record_batches(monkeypatch, lambda seeds: 2 in seeds, ZeroDivisionError())
    share = settings_of(pipeline, 6)
    failures = generate_share(pipeline, share, tmp_path, limits_of(share, 6))
    assert failures == {name_of(share[2]): "ZeroDivisionError()"}
    assert len(list(tmp_path.iterdir())) == 5


def test_three_that_fail_alike_stop_the_sweep_unless_memory_ran_out(
    pipeline, monkeypatch, tmp_path
):
    share = settings_of(pipeline, 5)
    record_batches(monkeypatch, lambda seeds: max(seeds) > 0, torch.OutOfMemoryError())
    assert len(generate_share(pipeline, share, tmp_path, limits_of(share, 1))) == 4
    record_batches(monkeypatch, lambda seeds: max(seeds) > 0, TypeError("a fault of ours"))
    with pytest.raises(RuntimeError, match="3 images failed in the same way.*: a fault of ours"):
        generate_share(pipeline, share, tmp_path, limits_of(share, 1))
