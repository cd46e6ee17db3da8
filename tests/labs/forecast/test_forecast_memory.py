"""The forecast of memory: how near it comes to what runs take, and what fits."""

import copy
import gc
from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload
from calls import assert_forecast, draw, set_up
from diffusers import AutoencoderTiny
from diffusers.hooks import apply_group_offloading
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor

from helpers import get_inputs, largest_batch, load_pipeline, peak_memory
from helpers.memory import bytes_of, tensors_of
from labs.forecast import GPUS, Forecast, forecast_memory, what_fits
from labs.forecast.allocator import MIB, CachingAllocator
from labs.forecast.memory import CONTEXT, MARGIN, _blocks, _layers

ROOT = Path(__file__).parents[2]


# The forecast, held to a real run


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4, "dtype": "bfloat16"},
        {"batch_size": 8, "vae_slicing": True},
        {"batch_size": 2, "attention": "classic", "height": 256, "width": 256},
        {"batch_size": 2, "attention": "sliced", "height": 256, "width": 192},
        {"vae_tiling": True, "height": 256, "width": 256},
    ],
    ids=str,
)
def test_the_forecast_is_near_what_the_embedded_model_takes(settings):
    pipeline = load_pipeline(device="cpu", dtype=settings.get("dtype", "float32"))
    assert_forecast(pipeline, "tiny-portraits", **settings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("attention", ["sdpa", "classic", "sliced"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_forecast_is_near_cudas_own_figure(attention, batch_size):
    pipeline = set_up(load_pipeline("sd15-shape", device="cuda", dtype="float16"), attention)
    draw(pipeline, batch_size)  # workspaces are made once
    peak = peak_memory(lambda: draw(pipeline, batch_size), pipeline).bytes
    forecast = forecast_memory("sd15-shape", batch_size=batch_size, attention=attention)
    assert forecast.allocated == pytest.approx(peak, rel=0.1)


# The forecast by itself


def test_the_hubs_model_is_forecast_by_its_shape_without_the_hub():
    hub, shape = (forecast_memory(name) for name in ("stable-diffusion-v1-5", "sd15-shape"))
    checker = 2 * 303_981_587  # parameters in float16
    for component, weights in shape.weights.items():
        assert hub.weights[component] == pytest.approx(weights + checker, rel=0.001)
        assert hub.activations[component] == shape.activations[component]
    assert hub.weights["safety check"] == hub.weights["UNet step"]


def make_safety_checker():
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    vision = sides | {"num_hidden_layers": 2, "patch_size": 16, "image_size": 64}
    return StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))


def test_a_safety_checker_counts_and_is_never_offloaded(pipeline, tmp_path):
    checker = make_safety_checker()
    own = copy.copy(pipeline)
    own.register_modules(
        safety_checker=checker, feature_extractor=CLIPImageProcessor(size=64, crop_size=64)
    )
    own.save_pretrained(tmp_path)
    peak = peak_memory(lambda: draw(own, 4), own).bytes
    plain = {"batch_size": 4, "dtype": "float32"}
    assert forecast_memory(tmp_path, **plain).peak == pytest.approx(peak, rel=0.05)
    weights = bytes_of(tensors_of(checker))
    for offload in ("model", "sequential"):
        own = forecast_memory(tmp_path, **plain, offload=offload)
        bare = forecast_memory("tiny-portraits", **plain, offload=offload)
        assert own.weights["VAE decode"] - bare.weights["VAE decode"] == weights


def test_a_tiny_autoencoder_is_forecast_as_it_is(pipeline, tmp_path):
    own = copy.copy(pipeline)
    own.vae = AutoencoderTiny(
        latent_channels=12, encoder_block_out_channels=(16,) * 4,
        decoder_block_out_channels=(16,) * 4,
    )  # fmt: skip
    own.save_pretrained(tmp_path)
    forecast = forecast_memory(tmp_path, batch_size=4, dtype="float32")
    assert forecast.peak == pytest.approx(peak_memory(lambda: draw(own, 4), own).bytes, rel=0.05)


def test_a_folder_and_a_torch_dtype_are_taken():
    folder = ROOT / "models" / "tiny-portraits"
    by_folder = forecast_memory(folder, dtype=torch.bfloat16)
    assert by_folder.peak == forecast_memory("tiny-portraits", dtype="bfloat16").peak


def test_attention_costs_what_its_scores_take():
    classic, sliced, sdpa = (
        forecast_memory("sd15-shape", attention=attention).activations["UNet step"]
        for attention in ("classic", "sliced", "sdpa")
    )
    scores = 2 * 8 * 4096**2 * 2  # images with guidance, heads, tokens squared, bytes of float16
    assert classic > 2 * scores > sliced > sdpa


def test_slicing_decodes_one_image_at_a_time_and_tiling_a_part_of_it():
    one = forecast_memory("tiny-portraits").activations["VAE decode"]
    four = forecast_memory("tiny-portraits", batch_size=4).activations["VAE decode"]
    sliced = forecast_memory("tiny-portraits", batch_size=4, vae_slicing=True)
    assert one < sliced.activations["VAE decode"] < four / 2
    large = {"height": 256, "width": 256}
    whole = forecast_memory("tiny-portraits", **large).activations["VAE decode"]
    tiled = forecast_memory("tiny-portraits", **large, vae_tiling=True)
    assert one < tiled.activations["VAE decode"] < whole / 2


def test_offload_keeps_ever_less_on_the_device():
    whole, model, group, sequential = (
        forecast_memory("sd15-shape", offload=offload)
        for offload in (None, "model", "group", "sequential")
    )
    assert whole.peak > model.peak > group.peak > sequential.peak
    assert sum(model.weights.values()) == whole.weights["UNet step"]
    activations = model.activations
    assert activations == whole.activations
    assert sequential.peak == pytest.approx(max(activations.values()), rel=0.02)


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_groups_are_those_that_diffusers_moves(name):
    module = getattr(load_pipeline(device="cpu", dtype="float32"), name)
    ours = {part: size for part, size in _blocks(module).items() if size}
    options = {"offload_type": "block_level", "num_blocks_per_group": 1}
    device = torch.device("cpu")
    apply_group_offloading(module, onload_device=device, offload_device=device, **options)
    theirs = {}
    for part in module.modules():
        registry = getattr(part, "_diffusers_hook", None)
        hook = registry and registry.get_hook("group_offloading")
        if hook:
            tensors = {*hook.group.parameters, *hook.group.buffers}
            tensors |= {tensor for one in hook.group.modules for tensor in tensors_of(one)}
            theirs[part] = bytes_of(tensors)
    assert ours == {part: size for part, size in theirs.items() if size}


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_layers_are_those_that_accelerate_moves(name):
    module = getattr(load_pipeline(device="cpu", dtype="float32"), name)
    ours = {part for part, size in _layers(module).items() if size}
    cpu_offload(module, torch.device("cpu"))
    hooks = {part: getattr(part, "_hf_hook", None) for part in module.modules()}
    theirs = {part for part, hook in hooks.items() if getattr(hook, "offload", False)}
    assert ours == {part for part in theirs if list(part.parameters(recurse=False))}


def test_a_forecast_shows_as_a_table_and_reads_as_a_sentence():
    weights, activations = {"UNet step": 2 * 10**9, "b": 10**9}, {"UNet step": 10**9, "b": 10**9}
    forecast = Forecast("<mine>", weights, activations)
    assert forecast.peak == 3 * 10**9
    assert str(forecast).startswith("<mine>: 3.00 GB of tensors at most, in the UNet step; a GPU's")
    table = forecast.table()
    assert list(table) == ["weights (GB)", "activations (GB)", "peak (GB)"]
    assert list(table.loc["b"]) == [1, 1, 2]
    assert "UNet step" in forecast._repr_html_() and "<mine>" not in forecast._repr_html_()


def test_settings_are_named_in_the_label():
    settings = {"vae_slicing": True, "vae_tiling": True, "offload": "model", "width": 64}
    forecast = forecast_memory("tiny-portraits", batch_size=2, **settings)
    for part in ("tiny-portraits", "batch of 2", "64 x 128", "float16", "sdpa", "VAE slicing"):
        assert part in forecast.label
    assert "VAE tiling" in forecast.label and "model offload" in forecast.label


BAD_SETTINGS = [
    ({"batch_size": 0}, "batch of 0 draws nothing: use a batch_size of at least 1"),
    ({"batch_size": -1}, "batch of -1 draws nothing"),
    ({"height": -64}, "height of -64 cannot be drawn: use a multiple of 8"),
    ({"height": 0}, "height of 0 cannot be drawn"),
    ({"width": 100}, "width of 100 cannot be drawn: use a multiple of 8"),
    ({"attention": "flash"}, "'flash' is no kind of attention: use one of 'sdpa', 'classic'"),
    ({"offload": "disk"}, "'disk' is no kind of offload: use one of None, 'model', 'sequential'"),
    ({"dtype": "half"}, "'half' is not a dtype to forecast: use float32, bfloat16, float16"),
    ({"dtype": torch.int8}, "torch.int8 is not a dtype to forecast"),
    ({"model": "sd15"}, "no Stable Diffusion 1.x or XL under 'sd15': give a name of MODELS"),
    ({"model": ROOT / "models"}, "no Stable Diffusion 1.x or XL under"),
    ({"model": ROOT / "models" / "tiny-judge"}, "no Stable Diffusion 1.x or XL under"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS, ids=lambda value: str(value)[:30])
def test_a_setting_that_cannot_be_forecast(settings, message):
    with pytest.raises(ValueError, match=message):
        forecast_memory(**{"model": "tiny-portraits", **settings})


# What a GPU's process takes


def test_a_process_takes_more_than_its_tensors_and_is_forecast_as_a_range():
    forecast = forecast_memory("sd15-shape", batch_size=8)
    assert forecast.peak < forecast.allocated < forecast.reserved
    least, likely, most = forecast.process
    assert (least, most) == (
        forecast.allocated + CONTEXT[0],
        MARGIN * forecast.reserved + CONTEXT[2],
    )
    assert least < likely < most
    sliced = forecast_memory("sd15-shape", batch_size=8, vae_slicing=True)
    assert sliced.process[2] < 0.6 * most


def test_the_allocator_keeps_what_it_took_and_uses_it_again():
    allocator = CachingAllocator()
    blocks = [allocator.take(30 * MIB) for _ in range(3)]
    assert (allocator.allocated, allocator.reserved) == (90 * MIB, 90 * MIB)
    for block in blocks:
        allocator.give_back(block)
    assert (allocator.allocated, allocator.reserved) == (0, 90 * MIB)
    again = allocator.take(20 * MIB)
    assert allocator.reserved == 90 * MIB
    rest = allocator.take(10 * MIB)  # of the same segment
    assert allocator.reserved == 90 * MIB
    for block in (again, rest):
        allocator.give_back(block)
    allocator.take(31 * MIB)  # neighbours join, but segments do not
    assert allocator.reserved == 122 * MIB
    assert allocator.most_allocated == 90 * MIB


@pytest.mark.parametrize(
    ("size", "takes"), [(1, 2), (MIB, 2), (MIB + 1, 20), (10 * MIB, 10), (11 * MIB - 1, 12)]
)
def test_segments_have_the_sizes_of_pytorchs(size, takes):
    allocator = CachingAllocator()
    allocator.take(size)
    assert allocator.reserved == takes * MIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_range_holds_what_cuda_reserves(batch_size):
    pipeline = load_pipeline("sd15-shape", device="cuda", dtype="float16")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    draw(pipeline, batch_size)
    least, _, most = forecast_memory("sd15-shape", batch_size=batch_size).kept
    assert 0.9 * least <= torch.cuda.max_memory_reserved() <= 1.1 * most


# What fits


@pytest.mark.parametrize("settings", [{}, {"attention": "classic", "vae_slicing": True}], ids=str)
def test_the_largest_batch_is_the_largest_whose_careful_forecast_fits(settings):
    budgets = {"small": 5.0, "large": 11.76}
    table = what_fits("sd15-shape", gpus=budgets, **settings)
    for name, gib in budgets.items():
        for column, end in (("largest batch", 2), ("at most", 0)):
            size = int(table[column][name])
            fits, fails = (
                forecast_memory("sd15-shape", batch_size=batch, **settings).process[end]
                for batch in (size, size + 2 + size // 10)  # between the sizes that are forecast
            )
            assert 0.95 * fits <= gib * 2**30 < fails


def test_each_gpu_has_a_row_and_a_small_one_may_hold_nothing():
    table = what_fits("sd15-shape", gpus={**GPUS, "tiny": 1.0})
    assert list(table.index) == [*GPUS, "tiny"]
    assert table["largest batch"]["tiny"] == 0
    assert table["largest batch"].drop("tiny").min() > 0
    assert table["memory (GB)"]["tiny"] == 2**30 / 1e9
    by_memory = table.sort_values("memory (GB)")
    assert by_memory["largest batch"].is_monotonic_increasing


def test_a_budget_below_one_image():
    with pytest.raises(ValueError, match=r"One image may take .* GB, more than .*: allow more"):
        what_fits("sd15-shape", gpus={"mine": 2.0})


def test_a_wrong_setting_is_refused_by_what_fits_too():
    with pytest.raises(ValueError, match="'disk' is no kind of offload"):
        what_fits("tiny-portraits", offload="disk")


def test_a_refusal_leaves_the_pipeline_as_it_was(pipeline):
    before = {name: id(part) for name, part in pipeline.components.items()}
    attention = {name: id(one) for name, one in pipeline.unet.attn_processors.items()}
    for call in (
        lambda: largest_batch(pipeline, get_inputs, limit=0),
        lambda: largest_batch(pipeline, lambda size: get_inputs(0), limit=1),
        lambda: peak_memory(lambda: draw(pipeline, height=100, width=100), pipeline),
    ):
        with pytest.raises(ValueError):
            call()
    gc.collect()
    assert {name: id(part) for name, part in pipeline.components.items()} == before
    assert {name: id(one) for name, one in pipeline.unet.attn_processors.items()} == attention
    assert len(draw(pipeline).images) == 1
