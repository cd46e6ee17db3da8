"""Measure in seconds how fast the machine at hand does each kind of work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import torch
from torch.nn.functional import conv2d, group_norm, linear, silu
from torch.nn.functional import scaled_dot_product_attention as attention

from helpers.loading import pick_device, pick_dtype
from helpers.memory import tensors_of
from helpers.timing import device_name
from labs.forecast.fused import FusedAttention
from labs.forecast.operations import OperationRecorder, Operations
from labs.forecast.rates import Rates
from labs.forecast.seconds import time_of

PATIENCE = 0.25  # seconds for each kind of work


def measure_machine(
    device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> Rates:
    """Measure what `forecast_seconds` has to know of this machine, in two seconds or so.

    Convolutions, matrix products, attention and copies are timed at sizes that occur in a UNet; a
    small operation tells what a launch costs. Nothing else should run meanwhile. A CPU is measured
    with as many threads as PyTorch uses just now: load the pipeline first, which sets them.

    Args:
        device: "auto" (CUDA, else MPS, else the CPU) or a device of PyTorch.
        dtype: "auto" (see `pick_dtype`), "float32", "bfloat16" or "float16".

    Returns:
        What `forecast_seconds` takes in the place of a card's name.

    Raises:
        ValueError: there is no such device here, or the dtype does not fit it.

    Example:
        >>> rates = measure_machine("cpu")
        >>> rates.convolution > 1e8, rates.bandwidth > 1e8
        (True, True)
    """
    device = pick_device(device)
    dtype = pick_dtype(device, dtype)
    many = 1 if device.type == "cpu" else 16  # enough work for a GPU

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=device).to(dtype)

    def seconds(work: Callable[[], object]) -> float:
        return _seconds(work, device)

    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        random(7 * 2**20)  # glibc: who has freed a large block is handed the next ones faster
        image, kernel = random(2 * many, 128, 32, 32), random(128, 128, 3, 3)
        rows, matrix = random(512 * many, 256), random(256, 256)
        heads, words = random(2 * many, 4, 256, 32), random(2 * many, 4, 77, 32)
        convolved = seconds(lambda: conv2d(image, kernel, padding=1))
        multiplied = seconds(lambda: linear(rows, matrix))
        attended = seconds(lambda: [attention(heads, one, one) for one in (heads, words)])
        # More weights than a cache holds, as in a large model, and next to nothing to do with them.
        kernels, pixels = [random(256, 256, 3, 3) for _ in range(24)], random(1, 256, 2, 2)
        matrices = [kernel.view(768, 768) for kernel in kernels]
        turned = seconds(lambda: [conv2d(pixels, one, padding=1) for one in kernels])
        read = seconds(lambda: [linear(random(1, 768), one) for one in matrices])
        moved = seconds(lambda: (silu(image), image + image, group_norm(image, 32)))
        idle, launches = _run_unet(device, dtype, width=8, side=2, samples=1)
        whole, operations = _run_unet(device, dtype, width=96, side=32, samples=2 * many)
    launch = idle / float(launches.times.sum())
    convolution = 2 * 9 * 128 * image.numel() / convolved
    weights = sum(one.numel() for one in kernels)
    rates = Rates(
        label=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        convolution=convolution,
        product=2 * 256 * rows.numel() / multiplied,
        attention=4 * (256 + 77) * heads.numel() / attended,
        bandwidth=7 * image.nbytes / moved,
        launch=(launch, launch, launch),
        read_weight=read / weights,
        turn_weight=max(0.0, turned - read) / weights,
        asynchronous=device.type != "cpu",
    )
    return _slowed(rates, operations, whole, 2 * many)


def _run_unet(
    device: torch.device, dtype: torch.dtype, width: int, side: int, samples: int
) -> tuple[float, Operations]:
    """The seconds of a small UNet with random weights, and its operations for one sample."""
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
    step = torch.zeros((), device=device)

    def forward() -> None:
        unet(latents, step, encoder_hidden_states=words, return_dict=False)

    recorder = OperationRecorder(tensors_of(unet), samples)
    with FusedAttention(recorder.note_attention), recorder:
        forward()
    return _seconds(forward, device), recorder.operations()


def _slowed(rates: Rates, operations: Operations, seconds: float, samples: int) -> Rates:
    """Lower the rates as much as a whole network is slower than its parts are by themselves."""
    (_, expected, _), limits = time_of(operations, samples, rates, channels_last=False)
    launches = expected * limits["launches"]
    slower = max(1.0, (seconds - launches) / (expected - launches))
    names = ("convolution", "product", "attention", "bandwidth")
    return replace(rates, **{name: getattr(rates, name) / slower for name in names})


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The mean seconds of a piece of work, once it has warmed up.

    Not the median: where other programs take their share of a core, a long run pays for it, too.
    """
    wait = torch.accelerator.synchronize if device.type != "cpu" else bool
    work()
    taken: list[float] = []
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end or len(taken) < 3:
        wait()
        start = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - start)
    return fmean(taken)
