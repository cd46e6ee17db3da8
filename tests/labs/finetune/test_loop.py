"""The training loop: deterministic, and what was learned outlasts an interrupt."""

import copy

import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from safetensors.torch import load_file

from helpers import get_inputs, image_distance
from labs.finetune import add_word, save_lora, train


def line(seed=0, steps=30, stop_at=None, **options):
    """Fit a slope of 3 to noisy points."""
    slope, done = torch.nn.Parameter(torch.zeros(1)), []
    slope.grad = torch.full((1,), float(len(options)))  # of a call before: it does not count

    def loss_of(generator):
        done.append(1)
        if len(done) == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(16, generator=generator)
        return ((slope - 3) * x).pow(2).mean()

    losses = train([slope], loss_of, steps=steps, learning_rate=0.5, seed=seed, **options)
    return slope.item(), losses


def test_the_loss_falls_and_a_seed_repeats_it():
    slope, losses = line()
    assert slope == pytest.approx(3, abs=0.5)
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 10
    assert line() == line(save=list) == (slope, losses)
    assert line(seed=1) != (slope, losses)


def test_weights_are_saved_on_the_way_and_at_the_end():
    saved = []
    line(steps=25, save=lambda: saved.append(1))
    assert len(saved) == 3  # after 10 and 20 steps, and at the end


def test_an_interrupt_keeps_what_was_learned(capsys):
    saved = []
    _, losses = line(stop_at=6, save=lambda: saved.append(1))
    assert (len(losses), len(saved)) == (5, 1)
    assert "Interrupted after 5 of 30 steps" in capsys.readouterr().out


def test_progress_is_reported():
    reports = []
    line(steps=5, report=lambda step, losses: reports.append((step, len(losses))), every=2)
    assert reports == [(2, 2), (4, 4)]


def test_refused():
    with pytest.raises(ValueError, match="No parameter requires a gradient"):
        train([], torch.zeros, steps=1, learning_rate=1.0)
    param = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        train([param], lambda _: param.sum() / 0, steps=1, learning_rate=1.0)
    with pytest.raises(RuntimeError, match="non-finite"):
        train([param], lambda _: param.abs().sqrt().sum(), steps=1, learning_rate=1.0)
    assert param.item() == 0


def generate(pipeline):
    return pipeline(**get_inputs(num_inference_steps=2)).images[0]


@pytest.mark.parametrize("rslora", [False, True])
def test_diffusers_loads_what_was_saved(pipeline, tmp_path, rslora):
    unet = copy.deepcopy(pipeline.unet).requires_grad_(False)
    options = {"target_modules": ["to_q"], "init_lora_weights": False, "use_rslora": rslora}
    unet.add_adapter(LoraConfig(r=2, lora_alpha=8, **options), adapter_name="mine")
    file = save_lora(unet, tmp_path / "new folder")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert all("lora" in key for key in load_file(file))
    trained = StableDiffusionPipeline(**pipeline.components | {"unet": unet})
    other = StableDiffusionPipeline(**pipeline.components | {"unet": copy.deepcopy(pipeline.unet)})
    before = generate(other)
    other.load_lora_weights(file.parent)
    assert image_distance(generate(trained), generate(other)) < 1
    assert image_distance(before, generate(other)) > 1


def test_only_the_vector_of_a_new_word_is_trained(pipeline):
    text_encoder = copy.deepcopy(pipeline.text_encoder)
    tokenizer = copy.deepcopy(pipeline.tokenizer)
    parts = {"text_encoder": text_encoder, "tokenizer": tokenizer}
    other = StableDiffusionPipeline(**pipeline.components | parts)
    with pytest.raises(ValueError, match="'bicycle' is read as 6 tokens: choose a word that"):
        add_word(other, "<gold>", like="bicycle")
    with pytest.raises(ValueError, match="knows 'knight' already"):
        add_word(other, "knight", like="yellow")
    vector, hook = add_word(other, "<gold>", like="yellow")

    def read(prompt):
        return other.encode_prompt(prompt, "cpu", 1, False)[0]

    assert torch.equal(read("a <gold> knight"), read("a yellow knight"))
    plain = read("a knight")
    train([vector], lambda _: read("a <gold> knight").pow(2).mean(), steps=2, learning_rate=0.1)
    assert not torch.equal(read("a <gold> knight"), read("a yellow knight"))
    assert torch.equal(read("a knight"), plain)
    hook.remove()
    assert torch.equal(read("a <gold> knight"), read("a yellow knight"))
