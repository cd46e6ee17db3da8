"""A model's exact shape: its parameters, its random weights, its pictures and its memory."""

import pytest
import torch

from helpers import MODELS, MODELS_FOLDER, get_inputs, load_pipeline
from helpers.loading import DTYPES, empty_pipeline, fill_with_random_weights
from helpers.memory import LiveStorages

# Stable Diffusion 1.5's architecture, with random weights

FULL_SIZE = MODELS_FOLDER / MODELS["sd15-shape"].id


def test_the_architecture_has_stable_diffusion_1_5s_parameters():
    pipeline = empty_pipeline(FULL_SIZE, torch.float16)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    counts = [part.num_parameters() for part in parts]
    assert counts == [859_520_964, 83_653_863, 123_060_480]
    assert {tensor.dtype for part in parts for tensor in part.parameters()} == {torch.float16}
    assert {tensor.device.type for part in parts for tensor in part.parameters()} == {"meta"}


def test_the_architecture_has_stable_diffusion_xls_parameters():
    pipeline = empty_pipeline(MODELS_FOLDER / MODELS["sdxl-shape"].id, torch.float16)
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    counts = [getattr(pipeline, name).num_parameters() for name in names]
    assert counts == [2_567_463_684, 83_653_863, 123_060_480, 694_659_840]


def test_its_folder_repeats_nothing_but_the_scheduler():
    files = {file.relative_to(FULL_SIZE).as_posix() for file in FULL_SIZE.rglob("*.*")}
    configs = {f"{part}/config.json" for part in ("safety_checker", "text_encoder", "unet", "vae")}
    assert files == configs | {"model_index.json", "scheduler/scheduler_config.json"}
    for name in ("model_index.json", "scheduler/scheduler_config.json"):
        embedded = MODELS_FOLDER / "tiny-portraits" / name
        assert (FULL_SIZE / name).read_bytes() == embedded.read_bytes()


def test_words_of_the_embedded_tokenizer_are_words_of_its_text_encoder():
    pipeline = empty_pipeline(FULL_SIZE, torch.float16)
    assert len(pipeline.tokenizer) <= pipeline.text_encoder.config.vocab_size


@pytest.mark.parametrize("dtype", DTYPES.values())
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
