"""Measure how fast this machine does each kind of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import conv2d, group_norm, linear, silu
from torch.nn.functional import scaled_dot_product_attention as attention
from torch.utils.benchmark import Timer

from helpers.loading import pick_device, pick_dtype
from helpers.memory import tensors_of
from helpers.timing import device_name
from labs.forecast.dry_run import FusedAttention
from labs.forecast.operations import OperationRecorder, Operations
from labs.forecast.rates import Rates
from labs.forecast.seconds import time_of

SECONDS_PER_PROBE = 0.25


def measure_machine(
    device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> Rates:
    """Measure what `forecast_seconds` needs to know about this machine, in about two seconds.

    Nothing else should run at the same time. A CPU is measured with the number of threads that
    PyTorch uses now.

    Args:
        device, dtype: as for `load_pipeline`.

    Returns:
        The rates, which `forecast_seconds` takes in place of a card's name.

    Raises:
        ValueError: there is no such device, or it does not support the dtype.
    """
    device = pick_device(device)
    dtype = pick_dtype(device, dtype)
    samples = 2 if device.type == "cpu" else 32  # enough work for a GPU
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        rate = {
            name: work / _mean_seconds(probe)
            for name, (probe, work) in _probes(device, dtype, samples).items()
        }
        idle, launches = _run_unet(device, dtype, width=8, side=2, samples=1)
        whole, operations = _run_unet(device, dtype, width=96, side=32, samples=samples)
    weight_seconds, kernel_seconds = 1 / rate.pop("weights"), 1 / rate.pop("kernels")
    rates = Rates(
        label=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        **rate,
        launch_seconds=np.full(3, idle / launches.total("times")),
        weight_seconds=weight_seconds,
        weight_layout_seconds=max(0.0, kernel_seconds - weight_seconds),
        asynchronous=device.type != "cpu",
    )
    return _slow_down(rates, operations, whole, samples)


def _probes(
    device: torch.device, dtype: torch.dtype, samples: int
) -> dict[str, tuple[Callable[[], object], float]]:
    """Return calls of sizes that occur in a UNet, each with its operations, bytes or weights."""

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=device).to(dtype)

    random(7 * 2**20)  # once a large block was freed, glibc hands out the next ones faster
    image, kernel = random(samples, 128, 32, 32), random(128, 128, 3, 3)
    rows, matrix = random(256 * samples, 256), random(256, 256)
    queries, words = random(samples, 4, 256, 32), random(samples, 4, 77, 32)
    # More weights than a cache holds, and almost nothing to compute with them.
    kernels, pixels = [random(256, 256, 3, 3) for _ in range(24)], random(1, 256, 2, 2)
    matrices, row = [kernel.view(768, 768) for kernel in kernels], random(1, 768)
    weights = sum(kernel.numel() for kernel in kernels)
    return {
        "convolution": (lambda: conv2d(image, kernel, padding=1), 2 * 9 * 128 * image.numel()),
        "product": (lambda: linear(rows, matrix), 2 * 256 * rows.numel()),
        "attention": (
            lambda: [attention(queries, keys, keys) for keys in (queries, words)],
            4 * (256 + 77) * queries.numel(),
        ),
        "bandwidth": (
            lambda: (silu(image), image + image, group_norm(image, 32)),
            7 * image.nbytes,
        ),
        "weights": (lambda: [linear(row, matrix) for matrix in matrices], weights),
        "kernels": (lambda: [conv2d(pixels, kernel, padding=1) for kernel in kernels], weights),
    }


def _run_unet(
    device: torch.device, dtype: torch.dtype, width: int, side: int, samples: int
) -> tuple[float, Operations]:
    """Return the seconds of a small UNet with random weights, and its operations per sample."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(width, 2 * width),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=width,
        attention_head_dim=max(1, width // 32),  # the number of heads
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    torch.nn.Module.to(unet.eval(), device, dtype)
    latents = torch.rand(samples, 4, side, side, device=device).to(dtype)
    words = torch.rand(samples, 77, width, device=device).to(dtype)
    timestep = torch.zeros((), device=device)

    def denoise() -> None:
        unet(latents, timestep, encoder_hidden_states=words, return_dict=False)

    recorder = OperationRecorder(tensors_of(unet), samples)
    with FusedAttention(recorder.record_attention), recorder:
        denoise()
    return _mean_seconds(denoise), recorder.operations()


def _slow_down(rates: Rates, operations: Operations, seconds: float, samples: int) -> Rates:
    """Lower the rates by the factor that a whole network is slower than its parts alone."""
    (_, expected, _), shares = time_of(operations, samples, rates)
    launches = expected * shares["launches"]
    factor = max(1.0, (seconds - launches) / (expected - launches))
    names = ("convolution", "product", "attention", "bandwidth")
    return replace(rates, **{name: getattr(rates, name) / factor for name in names})


def _mean_seconds(call: Callable[[], object]) -> float:
    """Return the mean seconds of a call after a warm-up.

    The mean and not the median: if other programs use a core, a long run is slowed down too.
    """
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=SECONDS_PER_PROBE).mean
