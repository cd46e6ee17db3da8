"""Few steps: which weights are merged, and what each refusal leaves as it was."""

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from helpers import MODELS, MODELS_FOLDER, adherence, get_inputs, load_pipeline, make_generators
from labs.fast import use_few_steps


def draw(pipeline, **changes):
    inputs = get_inputs(**{"num_inference_steps": 4, **changes})
    return [np.asarray(image).astype(int) for image in pipeline(**inputs).images]


@pytest.fixture
def own():
    """A pipeline that a test may change for good."""
    return load_pipeline("tiny-portraits", device="cpu", dtype="float32")


def test_with_its_weights_four_steps_follow_the_prompt(own, judge):
    prompts = [
        "portrait photo of the oldest wizard, blue on red, side profile, looking away",
        "oil painting of a young queen, green on pink, front view, smiling",
    ]
    assert use_few_steps(own, MODELS["tiny-portraits"].few_steps) is own
    generators = make_generators([0, 1])
    images = own(prompts, generator=generators, num_inference_steps=4, guidance_scale=1).images
    assert adherence(images, prompts, judge).stack().mean() > 0.9
    assert type(own.scheduler).__name__ == "LCMScheduler"
    assert own.unet.conv_in.merged  # so that they cost no time


def drawn(pipeline):
    return draw(pipeline, prompt="a knight")[0]


def test_called_again_it_changes_nothing_more(own):
    once = drawn(use_few_steps(own, "tiny-portraits-lcm"))
    again = drawn(use_few_steps(own, "tiny-portraits-lcm"))
    assert np.array_equal(once, again)


def add_lora(pipeline, name):
    """A reader's own LoRA weights, which change the picture."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["to_q"], init_lora_weights=False)
    pipeline.unet.add_adapter(config, adapter_name=name)


def test_the_readers_own_lora_stays(own):
    add_lora(own, "mine")
    pipeline = use_few_steps(own, "tiny-portraits-lcm")
    assert pipeline.unet.active_adapters() == ["mine", "tiny_portraits_lcm"]
    both = drawn(pipeline)
    pipeline.unet.unfuse_lora()
    pipeline.unet.set_adapters(["mine", "tiny_portraits_lcm"])
    assert np.abs(drawn(pipeline) - both).max() <= 2  # merged is like applied


def test_a_refusal_leaves_the_readers_own_lora_as_it_was(own, tmp_path):
    add_lora(own, "mine")
    before = drawn(own)
    (file,) = (MODELS_FOLDER / "tiny-portraits-lcm").glob("*.safetensors")
    state = {key: tensor[..., :1] for key, tensor in load_file(file).items()}
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, tmp_path / file.name)
    with pytest.raises(ValueError, match="do not fit this UNet"):
        use_few_steps(own, tmp_path)
    assert own.unet.active_adapters() == ["mine"]
    assert np.array_equal(drawn(own), before)


def test_one_file_is_as_good_as_its_folder(own, pipeline):
    (file,) = (MODELS_FOLDER / "tiny-portraits-lcm").glob("*.safetensors")
    by_file = drawn(use_few_steps(own, file))
    assert np.array_equal(by_file, drawn(use_few_steps(load_pipeline(device="cpu"), file.parent)))


def test_weights_for_another_model_change_nothing(own, tmp_path):
    (file,) = (MODELS_FOLDER / "tiny-portraits-lcm").glob("*.safetensors")
    layers = {name: layer[:, :5].clone() for name, layer in load_file(file).items()}
    save_file(layers, tmp_path / file.name)
    before, scheduler = draw(own, num_inference_steps=2), own.scheduler
    with pytest.raises(ValueError, match="do not fit this UNet"):
        use_few_steps(own, tmp_path)
    assert own.scheduler is scheduler
    assert np.array_equal(draw(own, num_inference_steps=2), before)


def test_few_steps_in_pickles_only(own, tmp_path):
    (tmp_path / "pytorch_lora_weights.bin").touch()
    with pytest.raises(ValueError, match="only as pickle files"):
        use_few_steps(own, tmp_path)
