"""Changes to a pipeline: what fits, what each refuses, and that nothing else changes."""

import diffusers
import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from helpers import (
    MODELS,
    MODELS_FOLDER,
    adherence,
    get_inputs,
    load_pipeline,
    make_generators,
    use_vae,
)
from helpers import use_scheduler as use
from labs.fast import use_few_steps


def draw(pipeline, **changes):
    inputs = get_inputs(**{"num_inference_steps": 4, **changes})
    return [np.asarray(image).astype(int) for image in pipeline(**inputs).images]


# Schedulers


def test_a_scheduler_by_name_and_by_class_keeps_the_betas(pipeline):
    betas = pipeline.scheduler.betas
    for scheduler in ("DPMSolverMultistepScheduler", diffusers.DPMSolverMultistepScheduler):
        assert use(pipeline, scheduler) is pipeline
        assert type(pipeline.scheduler) is diffusers.DPMSolverMultistepScheduler
        assert torch.equal(pipeline.scheduler.betas, betas)


def test_the_scheduler_is_the_one_that_from_config_makes(pipeline):
    config = pipeline.scheduler.config
    expected = diffusers.DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    use(pipeline, "DPMSolverMultistepScheduler", use_karras_sigmas=True)
    assert pipeline.scheduler.config == expected.config
    assert pipeline.scheduler.config.use_karras_sigmas is True


def test_load_pipeline_takes_a_scheduler():
    pipeline = load_pipeline(device="cpu", scheduler="EulerDiscreteScheduler")
    assert type(pipeline.scheduler) is diffusers.EulerDiscreteScheduler


@pytest.mark.parametrize(
    ("scheduler", "changes", "message"),
    [
        ("DPMSolverMultistep", {}, "Nearest: DPMSolverMultistepScheduler"),
        ("FlowMatchEulerDiscreteScheduler", {}, r"not a scheduler that fits.*compatibles"),
        (diffusers.FlowMatchEulerDiscreteScheduler, {}, r"not a scheduler that fits.*compatibles"),
        (diffusers.DDIMScheduler(), {}, r"'DDIMScheduler\(\)' is not.*Nearest: DDIMScheduler"),
        ("DDIMScheduler", {"steps_ofset": 1}, "no setting 'steps_ofset'. Nearest: steps_offset"),
        ("DDIMScheduler", {"beta_schedule": "none"}, "cannot be made with .*'none'"),
        ("DDIMScheduler", {"num_train_timesteps": "many"}, r"cannot be made with .*'many'[^\n]*$"),
        (
            "DPMSolverMultistepScheduler",
            {"use_karras_sigmas": True, "use_exponential_sigmas": True},
            "cannot be made with .*Only one of",
        ),
    ],
)
def test_a_scheduler_that_does_not_fit_changes_nothing(pipeline, scheduler, changes, message):
    before = pipeline.scheduler
    with pytest.raises(ValueError, match=message):
        use(pipeline, scheduler, **changes)
    assert pipeline.scheduler is before


# Autoencoders


def test_the_further_trained_autoencoder_decodes_the_same_latents_otherwise(pipeline):
    folder = MODELS_FOLDER / "tiny-portraits-early"
    own = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae")
    pipeline.vae = own  # the final model ships the further-trained one
    before = draw(pipeline, num_inference_steps=2)[0]
    assert use_vae(pipeline, MODELS["tiny-portraits"].vae) is pipeline
    assert pipeline.vae is not own
    further = draw(pipeline, num_inference_steps=2)[0]
    assert 0 < abs(further - before).mean() < 30
    for ours, theirs in zip(
        own.encoder.parameters(), pipeline.vae.encoder.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("change", [{"latent_channels": 4}, {"block_out_channels": (16, 32)}])
def test_an_autoencoder_of_other_latents_is_refused(pipeline, change, tmp_path):
    levels = len(change.get("block_out_channels", pipeline.vae.config.block_out_channels))
    config = dict(pipeline.vae.config) | change
    for direction in ("down", "up"):
        blocks = f"{direction}_block_types"
        config[blocks] = config[blocks][:levels]
    diffusers.AutoencoderKL.from_config(config).save_pretrained(tmp_path / "other")
    own = pipeline.vae
    with pytest.raises(ValueError, match="latents of 'other'.*trained for the same model"):
        use_vae(pipeline, tmp_path / "other")
    assert pipeline.vae is own


def test_an_autoencoder_in_pickles_only(pipeline, tmp_path):
    (tmp_path / "diffusion_pytorch_model.bin").touch()
    with pytest.raises(ValueError, match="only as pickle files"):
        use_vae(pipeline, tmp_path)


def test_an_autoencoder_of_the_hub(pipeline, monkeypatch):
    asked = []

    def download(hub_id, **options):
        asked.append(hub_id)
        return str(MODELS_FOLDER / "tiny-portraits-vae-ft")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    use_vae(pipeline, "stabilityai/sd-vae-ft-mse")
    assert asked == ["stabilityai/sd-vae-ft-mse"]


# Few steps


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


def test_a_scheduler_whose_library_is_missing_says_which(pipeline, monkeypatch):
    class Lacking(diffusers.DPMSolverSDEScheduler):
        @classmethod
        def from_config(cls, config, **options):
            raise ImportError("\nDPMSolverSDEScheduler requires the torchsde library")

    monkeypatch.setattr(type(pipeline.scheduler), "compatibles", [Lacking])
    with pytest.raises(ValueError, match="^Lacking cannot be made: .* requires the torchsde libra"):
        use(pipeline, "Lacking")


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
