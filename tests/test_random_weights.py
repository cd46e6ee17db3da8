"""A model's exact shape: its parameters, its random weights and its activations."""

import pytest
import torch

from helpers import MODELS, MODELS_FOLDER, get_inputs, load_pipeline
from helpers.loading import empty_pipeline, fill_with_random_weights


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("sd15-shape", [859_520_964, 83_653_863, 123_060_480]),
        ("sdxl-shape", [2_567_463_684, 83_653_863, 123_060_480, 694_659_840]),
    ],
)
def test_the_architecture_has_the_models_parameters_and_takes_no_memory(name, counts):
    pipeline = empty_pipeline(MODELS_FOLDER / MODELS[name].id, torch.float16)
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    parts = [getattr(pipeline, part) for part in names if hasattr(pipeline, part)]
    assert [part.num_parameters() for part in parts] == counts
    tensors = {(tensor.dtype, tensor.device.type) for part in parts for tensor in part.parameters()}
    assert tensors == {(torch.float16, "meta")}


def test_random_weights_are_the_same_each_time():
    folder = MODELS_FOLDER / "tiny-portraits"
    first, again = (
        fill_with_random_weights(empty_pipeline(folder, torch.float16), "cpu") for _ in range(2)
    )
    for name in ("unet", "vae", "text_encoder"):
        pair = (getattr(pipeline, name).state_dict() for pipeline in (first, again))
        for weight, other in zip(*(state.values() for state in pair), strict=True):
            assert weight.dtype == torch.float16 and torch.equal(weight, other)
            assert weight.ndim < 2 or 0 < weight.float().std() < 1


def test_it_says_what_it_is_good_for_and_stays_far_below_float16s_limit(tiny_shape, capsys):
    pipeline, largest = load_pipeline(tiny_shape, device="cpu"), []
    assert capsys.readouterr().out == f"tiny-shape: {MODELS[tiny_shape].description}\n"

    def note(module, inputs, output):
        if isinstance(output, torch.Tensor):
            largest.append(output.abs().max().item())

    for module in [*pipeline.unet.modules(), *pipeline.vae.modules()]:
        module.register_forward_hook(note)
    pipeline(**get_inputs(num_inference_steps=1))
    assert max(largest) < torch.finfo(torch.float16).max / 100
