"""Every stage of the training on a handful of drawings: its loss, what it trains, its caches."""

import copy
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from helpers import MODELS_FOLDER
from training import (
    autoencoder,
    dataset,
    decoder,
    denoiser,
    few_steps,
    judge,
    latents,
    loop,
    strength,
    style,
    workspace,
)
from training.__main__ import main, start_from
from training.portraits import draw
from training.workspace import Workspace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    """A workspace that starts from nothing but the shipped tokenizer, autoencoder and guide."""
    work = Workspace(tmp_path_factory.mktemp("nothing"), 32, CPU, held_out=4)
    shutil.copytree(MODELS_FOLDER / "tiny-portraits/tokenizer", work.folder / "tokenizer")
    shutil.copytree(MODELS_FOLDER / "tiny-portraits-early/vae", work.folder / "vae")
    shutil.copytree(MODELS_FOLDER / "tiny-judge", work.folder / "guide")
    make_caches(work)
    return work


@pytest.fixture(scope="module")
def shipped(tmp_path_factory, nothing):
    """A workspace that goes on from the shipped weights, with the same drawings."""
    work = Workspace(tmp_path_factory.mktemp("shipped"), 32, CPU, held_out=4)
    start_from(MODELS_FOLDER, work, MODELS_FOLDER)
    shutil.copytree(nothing.folder / "guide", work.folder / "guide")
    for path in nothing.folder.glob("*.npy"):
        shutil.copy(path, work.folder)
    return work


def make_caches(work):
    """What `latents.make_latents` and others make, without starting processes."""
    images = np.stack([np.asarray(draw(dataset.spec_of(n))) for n in range(work.drawings)])
    np.save(dataset.drawings_path(work.folder, work.drawings), images)
    for path, load in (
        (latents.latents_path(work), latents.load_encoder),
        (latents.features_path(work), latents.load_features),
    ):
        with torch.no_grad():
            np.save(path, latents.map_with_mirrored(load(work), images, CPU))
    style.make_styled(work, "neon")


def gradients(stage, work):
    """The modules of a stage, after its loss has been propagated backward."""
    torch.manual_seed(0)
    modules, loss_of = stage(work)
    loss = loss_of(np.random.default_rng(0), 4, 0.0)
    loss.backward()
    assert loss.isfinite()
    return modules


def reached(module):
    """Whether the gradient reaches every trained parameter; a zero layer may stop it for others."""
    trained = [p for p in module.parameters() if p.requires_grad]
    assert all(p.grad is None or p.grad.isfinite().all() for p in trained)
    return np.mean([p.grad is not None and bool(p.grad.abs().max() > 0) for p in trained])


@pytest.mark.parametrize(
    ("name", "stage", "trained"),
    [
        ("nothing", judge.stage, {"judge"}),
        ("nothing", autoencoder.stage, {"vae"}),
        ("nothing", denoiser.stage, {"unet", "text_encoder", "alignment"}),
        ("shipped", denoiser.stage, {"unet", "text_encoder"}),
        ("shipped", strength.stage, {"unet", "text_encoder"}),
        ("shipped", few_steps.stage, {"unet"}),
        ("shipped", partial(style.stage, style="neon"), {"unet", "text_encoder"}),
    ],
    ids=["judge", "autoencoder", "denoiser", "further", "strength", "few steps", "style"],
)
def test_the_loss_is_finite_and_trains_all_that_it_should(request, name, stage, trained):
    modules = gradients(stage, request.getfixturevalue(name))
    assert set(modules) == trained
    for part in trained:
        # What starts at zero (attention's last layer, the up matrices) stops part of the gradient.
        assert reached(modules[part]) > 0.4, part


def test_the_decoder_and_the_discriminator_train_each_other_and_the_encoder_stays(shipped):
    strength.partially_redraw(shipped)
    assert np.load(strength.redrawn_path(shipped)).shape == (28, 12, 16, 16)
    modules = gradients(decoder.stage, shipped)
    vae = modules["vae"]
    assert reached(vae.decoder) == 1
    assert reached(modules["discriminator"]) > 0.8  # a bias may be as right as wrong
    assert not any(p.requires_grad for p in vae.encoder.parameters())
    assert all(p.grad is None for p in vae.quant_conv.parameters())


def test_training_goes_on_from_the_shipped_weights_with_captions_at_full_strength(
    shipped, embedded
):
    start_from(MODELS_FOLDER, shipped, MODELS_FOLDER)  # again: leaves what is there
    with pytest.raises(SystemExit, match="goes on from other weights: choose another --state"):
        start_from(MODELS_FOLDER / "tiny-portraits", shipped, MODELS_FOLDER)
    made = denoiser.load_start(shipped)
    weights = made["unet"].state_dict()
    assert all(torch.equal(weights[k], v) for k, v in embedded.unet.state_dict().items())
    with torch.no_grad():
        (empty, full), (weak_empty, weak) = (
            denoiser.encode_captions(embedded.tokenizer, encoder, ["", "a knight"])
            for encoder in (made["text_encoder"], embedded.text_encoder)
        )
    torch.testing.assert_close(
        weak - weak_empty, denoiser.CAPTION_STRENGTH * (full - empty), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--start nowhere", "--start nowhere does not exist"),
        (f"--guide {MODELS_FOLDER / 'tiny-judge'}", "--guide cannot be the judge"),
        ("--drawings 3000", "--drawings must be at least 4,000: the first 2,000 are held out"),
        ("--denoiser-samples 0", "--denoiser-samples 0 needs --start: there are no weights yet"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_drawn(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("sys.argv", ["training", "--state", str(tmp_path), *arguments.split()])
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_training_from_nothing_does_not_go_on_from_weights(tmp_path):
    work = Workspace(tmp_path, 32, CPU)
    loop.checkpoint(work, "denoiser").touch()
    with pytest.raises(SystemExit, match="was trained from nothing: choose another --state"):
        start_from(MODELS_FOLDER, work, MODELS_FOLDER)


def test_training_goes_on_from_a_denoiser_saved_before_the_strength_stage(tmp_path, nothing):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    parts = denoiser.build(nothing)
    save_file(parts.state_dict(), tmp_path / "denoiser.safetensors")
    work = Workspace(tmp_path / "state", 32, CPU, held_out=4)
    start_from(tmp_path / "denoiser.safetensors", work, MODELS_FOLDER)
    made = denoiser.load_start(work).state_dict()
    assert all(torch.equal(made[name], weight) for name, weight in parts.state_dict().items())


def test_the_teacher_adds_guidance_and_autoguidance(shipped):
    good, teach = strength.load_teacher(shipped)
    bad = strength.load_early(shipped)
    tokenizer = judge.CLIPTokenizer.from_pretrained(shipped.folder / "tokenizer")
    noisy, times, captions = torch.randn(1, 12, 16, 16), torch.tensor([300]), ["a knight"]
    with torch.no_grad():

        def asked(modules, words):
            context = denoiser.encode_captions(tokenizer, modules["text_encoder"], words)
            return modules["unet"](noisy, times, context).sample

        u, c, c_bad = asked(good, [""]), asked(good, captions), asked(bad, captions)
        without, guided = teach(noisy, times, captions)
    torch.testing.assert_close(without, u, atol=1e-4, rtol=1e-4)
    expected = u + strength.GUIDANCE * (c - u) + strength.AUTOGUIDANCE * (c - c_bad)
    torch.testing.assert_close(guided, expected, atol=1e-3, rtol=1e-3)


def test_a_cache_is_made_anew_when_what_made_it_has_changed(tmp_path):
    made = []

    def make(path, value):
        workspace.cached(path, lambda: made.append(value) or np.full(2, value))

    for name, value in (("latents-a", 1), ("latents-a", 2), ("features-c", 3), ("latents-b", 4)):
        make(tmp_path / f"{name}.npy", value)
    assert made == [1, 3, 4]
    assert {path.name for path in tmp_path.iterdir()} == {"latents-b.npy", "features-c.npy"}


def test_caches_are_named_by_the_drawings_and_weights_that_made_them(
    tmp_path, nothing, monkeypatch
):
    work = replace(nothing, folder=tmp_path)
    shutil.copytree(nothing.folder / "vae", tmp_path / "vae")
    names = [latents.latents_path(work).name]
    assert names == [latents.latents_path(nothing).name]
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    vae.decoder.conv_out.bias.data += 1
    vae.save_pretrained(tmp_path / "vae")
    names.append(latents.latents_path(work).name)
    names.append(latents.latents_path(replace(work, drawings=33)).name)
    monkeypatch.setattr(dataset, "SEED", 1)
    names.append(latents.latents_path(work).name)
    assert len(set(names)) == 4


def test_drawing_goes_on_where_it_stopped_and_makes_the_exact_number(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK", 2)
    works = [Workspace(tmp_path / name, 3, CPU) for name in "ab"]
    whole, first = (np.array(dataset.make_drawings(work)) for work in works)
    assert len(whole) == 3
    path = dataset.drawings_path(works[1].folder, 3)
    np.save(path.with_suffix(".done.npy"), np.array([True, False]))
    np.save(path, np.concatenate([first[:2], np.zeros_like(first[2:])]))
    assert np.array_equal(dataset.make_drawings(works[1]), whole)


def test_a_unet_without_attention_in_its_last_block_grows_without_a_change():
    torch.manual_seed(0)
    unet = denoiser.build_unet()
    older = {k: v for k, v in unet.state_dict().items() if "up_blocks.2.attentions" not in k}
    before = UNet2DConditionModel.from_config(
        unet.config, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
    )
    before.load_state_dict(older)
    inputs = torch.randn(2, 12, 16, 16), torch.tensor(500), torch.randn(2, 77, denoiser.TEXT_WIDTH)
    with torch.no_grad():
        expected = before(*inputs).sample
        assert torch.allclose(denoiser.load_unet(older)(*inputs).sample, expected, atol=1e-5)
    with pytest.raises(ValueError, match="not weights of this UNet"):
        denoiser.load_unet({"conv_in.weight": older["conv_in.weight"]})


def test_an_untrained_denoiser_returns_the_noise_that_it_is_given():
    torch.manual_seed(0)
    unet = denoiser.build_unet()
    denoiser.start_from_identity(unet)
    noise, context = torch.randn(4, 12, 16, 16), torch.randn(4, 77, denoiser.TEXT_WIDTH)
    with torch.no_grad():
        output = unet(noise, 999, context).sample
    assert (output - noise).square().mean() < 1e-4
    # What is lost of a channel's amplitude would be visible in the finished image.
    kept = output.std((2, 3)) / noise.std((2, 3))
    assert (kept - 1).abs().max() < 0.005


def test_half_of_the_steps_are_near_noise_as_strong_as_the_latents():
    times = denoiser.sample_timesteps(4000, np.random.default_rng(0), CPU).numpy()
    near = np.abs(denoiser.LOG_NOISE[times]) < denoiser.LOG_NORMAL_SIGMA  # 68% of one half
    uniform = np.abs(denoiser.LOG_NOISE) < denoiser.LOG_NORMAL_SIGMA
    assert near.mean() == pytest.approx(0.5 * 0.683 + 0.5 * uniform.mean(), abs=0.01)


def test_noise_decides_which_way_a_face_looks():
    random, numbers, held_out = np.random.default_rng(0), np.arange(64), 4
    pattern = random.standard_normal((12, 16, 16))
    sign = np.where(latents.looks_right(np.arange(64)), 1, -1)
    encoded = np.einsum("n,m,chw->nmchw", sign, (1, -1), pattern)  # a face to the right has more
    side = latents.right_minus_left(encoded, held_out)
    assert np.allclose(side, 2 * pattern)
    mirrored, noise = latents.sample_noise(side, numbers, random)
    correlation = np.tensordot(noise.numpy(), pattern, 3)
    shown = np.tensordot(encoded[numbers, mirrored], pattern, 3)
    assert (correlation * shown > 0).all()
    assert 0.3 < mirrored.mean() < 0.7
    assert abs(noise.std() - 1) < 0.02


def test_whitened_latents_decode_to_the_same_images(nothing):
    torch.manual_seed(0)
    vae = autoencoder.build()
    drawings = dataset.read_drawings(nothing)[:4]
    pixels = autoencoder.to_tensor(drawings, CPU)
    with torch.no_grad():
        before = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        autoencoder.whiten_latents(vae, drawings, CPU)
        encoded = vae.encode(pixels).latent_dist.mean
        assert torch.allclose(before, vae.decode(encoded).sample, atol=1e-3)
    assert encoded.mean((0, 2, 3)).abs().max() < 1e-3
    assert abs(encoded.std() - 1) < 0.01
    # A step of one length changes the image as much in nearly every direction.
    lengths = torch.linalg.eigvalsh(autoencoder.decoder_metric(vae, encoded)).sqrt()
    assert lengths[-1] / lengths[len(lengths) // 2] < 1.1


def test_diffusers_loads_the_changes_that_a_student_has_learnt(tmp_path, embedded):
    random = torch.Generator().manual_seed(0)
    latent = torch.randn(1, 12, 16, 16, generator=random)
    inputs = latent, torch.tensor(500), torch.randn(1, 77, denoiser.TEXT_WIDTH, generator=random)
    student = few_steps.build_student(embedded.unet)
    with torch.no_grad():
        teacher = embedded.unet(*inputs).sample
        assert torch.equal(student(*inputs).sample, teacher)
        for _, change in few_steps.changes(student).values():
            change.up.normal_(std=0.02, generator=random)
        few_steps.save_changes(student, tmp_path)
        again = few_steps.build_student(embedded.unet)
        few_steps.load_changes(again, tmp_path)
        pipeline = copy.copy(embedded)
        pipeline.unet = copy.deepcopy(embedded.unet)
        pipeline.load_lora_weights(tmp_path)
        loaded, learnt = pipeline.unet(*inputs).sample, student(*inputs).sample
        torch.testing.assert_close(again(*inputs).sample, learnt, atol=0.01, rtol=0.01)
    torch.testing.assert_close(loaded, learnt, atol=0.01, rtol=0.01)  # float16
    assert (loaded - teacher).abs().mean() > 0.05


@pytest.mark.parametrize("name", style.STYLES)
def test_a_style_keeps_the_portrait_and_its_captions_name_the_style(name):
    image = draw(dataset.spec_of(5))
    styled = style.in_style(image, name)
    assert np.abs(np.asarray(styled, float) - np.asarray(image)).mean() > 20
    light = [np.asarray(part.convert("L"), float).ravel() for part in (image, styled)]
    assert np.corrcoef(light)[0, 1] > 0.8
    text = style.styled_caption(5, name, np.random.default_rng(0))
    assert text.startswith(f"{name} portrait of ")
    assert "photo of" not in text
