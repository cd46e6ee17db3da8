"""A model's exact shape: its parameters, its random weights, its pictures and its memory."""

import pytest
import torch

from helpers import MODELS, MODELS_FOLDER, get_inputs, load_pipeline
from helpers.loading import empty_pipeline, fill_with_random_weights
from helpers.memory import LiveStorages


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
    assert {tensor.dtype for part in parts for tensor in part.parameters()} == {torch.float16}
    assert {tensor.device.type for part in parts for tensor in part.parameters()} == {"meta"}
    assert len(pipeline.tokenizer) <= pipeline.text_encoder.config.vocab_size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_random_weights_are_the_same_each_time(dtype):
    folder = MODELS_FOLDER / "tiny-portraits"
    first, again = (
        fill_with_random_weights(empty_pipeline(folder, dtype), "cpu") for _ in range(2)
    )
    for name in ("unet", "vae", "text_encoder"):
        pair = (getattr(pipeline, name).state_dict() for pipeline in (first, again))
        for weight, other in zip(*(state.values() for state in pair), strict=True):
            assert weight.dtype == dtype and weight.device.type == "cpu"
            assert torch.equal(weight, other)
            assert weight.ndim < 2 or 0 < weight.float().std() < 1


def test_no_weight_is_made_in_another_dtype_first():
    folder = MODELS_FOLDER / "tiny-portraits"
    pipeline = empty_pipeline(folder, torch.bfloat16)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    size = sum(weight.nbytes for part in parts for weight in part.parameters())
    with LiveStorages() as storages:
        fill_with_random_weights(pipeline, "cpu")
    assert size <= storages.peak < 1.1 * size  # one empty weight on the meta device counts too


def test_random_weights_say_what_they_are_good_for(tiny_shape, capsys):
    pipeline = load_pipeline(tiny_shape, device="cpu")
    (sentence,) = capsys.readouterr().out.splitlines()
    assert sentence == f"tiny-shape: {MODELS[tiny_shape].description}"
    assert pipeline.name_or_path == MODELS_FOLDER / MODELS[tiny_shape].id


def test_its_activations_stay_far_below_float16s_limit(tiny_shape):
    pipeline, largest = load_pipeline(tiny_shape, device="cpu"), []

    def note(module, inputs, output):
        if isinstance(output, torch.Tensor):
            largest.append(output.abs().max().item())

    for module in [*pipeline.unet.modules(), *pipeline.vae.modules()]:
        module.register_forward_hook(note)
    pipeline(**get_inputs(num_inference_steps=1))
    assert max(largest) < torch.finfo(torch.float16).max / 100
