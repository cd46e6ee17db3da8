"""Few-step weights: merged once, and refused where they do not fit."""

import pytest
import torch
from diffusers import LCMScheduler
from peft import LoraConfig
from safetensors.torch import load_file, save

from helpers import MODELS, MODELS_FOLDER, adherence, image_distance, load_pipeline, make_generators
from labs.fast import use_few_steps
from labs.images.describe import describe_settings, to_code

NAME = "tiny-portraits-lcm"
FILE = MODELS_FOLDER / NAME / "pytorch_lora_weights.safetensors"


@pytest.fixture
def own():
    """A pipeline that a test may change for good."""
    return load_pipeline("tiny-portraits", device="cpu", dtype="float32")


def generate(pipeline, prompts=("a knight",), num_inference_steps=2):
    options = {"guidance_scale": 1, "generator": make_generators(range(len(prompts)))}
    return pipeline(list(prompts), num_inference_steps=num_inference_steps, **options).images


def test_four_steps_follow_the_prompt(own, judge):
    prompts = [
        "portrait photo of the oldest wizard, blue on red, side profile, looking away",
        "oil painting of a young queen, green on pink, front view, smiling",
    ]
    assert use_few_steps(own, MODELS["tiny-portraits"].few_steps) is own
    images = generate(own, prompts, num_inference_steps=4)
    assert adherence(images, prompts, judge).stack().mean() > 0.9


def test_it_generates_what_diffusers_own_calls_do(own):
    plain = load_pipeline("tiny-portraits", device="cpu", dtype="float32")
    plain.load_lora_weights(str(FILE.parent))
    plain.scheduler = LCMScheduler.from_config(plain.scheduler.config)
    assert image_distance(*generate(use_few_steps(own, NAME)), *generate(plain)) < 0.2
    code = to_code(describe_settings(own, "a knight"), own)
    assert f"# Call use_few_steps(pipeline, {NAME!r}) here." in code
    assert own.get_list_adapters() == {}  # merged, so that a step takes no longer
    with pytest.raises(ValueError, match="has LoRA weights already"):  # twice would be too much
        use_few_steps(own, NAME)


def test_other_lora_weights_come_afterwards(own):
    config = LoraConfig(r=4, target_modules=["to_q"], init_lora_weights=False)
    own.unet.add_adapter(config, adapter_name="mine")
    with pytest.raises(ValueError, match="has LoRA weights already: load it again"):
        use_few_steps(own, NAME)
    assert own.unet.active_adapters() == ["mine"]
    own.unet = None
    with pytest.raises(ValueError, match="StableDiffusionPipeline has no UNet: use"):
        use_few_steps(own, NAME)


LORA = load_file(FILE)
OTHER_FILES = {
    "nothing": {},
    "UNet and text encoder": LORA | {"text_encoder.lora_A.weight": torch.zeros(2)},
    "layer that is not there": LORA | {"unet.lora_A.weight": torch.zeros(2)},
    "DoRA": LORA | {"unet.dora_scale": torch.zeros(2)},
    "other sizes": {key: value[..., :1].contiguous() for key, value in LORA.items()},
    "damaged": None,
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_weights_that_do_not_fit_change_nothing(pipeline, tmp_path, kind):
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"no weights" if OTHER_FILES[kind] is None else save(OTHER_FILES[kind]))
    before, scheduler = generate(pipeline), pipeline.scheduler
    with pytest.raises(ValueError, match="does not hold LoRA weights for this model: use"):
        use_few_steps(pipeline, path)
    assert pipeline.scheduler is scheduler
    assert pipeline.get_list_adapters() == {}
    assert generate(pipeline) == before
