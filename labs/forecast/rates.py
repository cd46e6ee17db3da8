"""How fast a machine does each kind of work, by its data sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from helpers.loading import DTYPES
from labs.forecast.dry_run import Range, dtype_name
from labs.forecast.gpus import DATA, Card


class Constants(NamedTuple):
    """What was fitted to published times; none of it belongs to one card."""

    convolution: float  # share of the tensor cores' peak that convolutions reach
    attention: float  # share that fused attention reaches
    unfused_share: float  # share of the other operations' bytes that are left after compiling
    watts: float  # per TFLOPS of tensor cores at the boost clock, in a 12 nm process
    watts_float32: float  # the same for the other cores


# Not fitted but set by hand: well known, or too uncertain for more than a round number.
BANDWIDTH = 0.9  # share of the peak that long copies reach
PRODUCT = 0.85  # share of the tensor cores' peak that large matrix products reach
WINOGRAD = 1.5  # convolutions in float32 save multiplications by Winograd's algorithm
EXACT = 3  # TF32 products that fused attention adds up to a float32 product
WITHOUT_TENSOR_CORES = 0.5  # share of the peak that float16 reaches on cards without them
TILE = 128 * 64  # results that one multiprocessor works on at once
# Seconds that a processor takes to launch an operation: a fast, a usual and a slow one.
LAUNCH: Range = np.array([20e-6, 35e-6, 65e-6])
LAUNCH_COMPILED: Range = np.array([4e-6, 10e-6, 45e-6])


@dataclass(frozen=True)
class Rates:
    """How fast a machine works in one dtype."""

    label: str
    dtype: str
    convolution: float  # floating-point operations per second
    product: float
    attention: float
    bandwidth: float  # bytes per second
    weight_seconds: float  # to read one weight
    launch_seconds: Range  # for an operation: least, likely, most
    saturating_results: float = 1.0  # results that occupy the whole machine
    unfused_share: float = 1.0  # share of the other operations' bytes that are left
    # Seconds that a convolution takes to convert one weight, and one other number that it reads or
    # writes, between PyTorch's layout and its own (channels last).
    weight_layout_seconds: float = 0.0
    layout_seconds: float = 0.0
    asynchronous: bool = True  # whether operations are launched while earlier ones run

    @property
    def itemsize(self) -> int:
        """The bytes of a number."""
        return DTYPES[self.dtype].itemsize


def rates_of(
    card: Card,
    dtype: str | torch.dtype,
    *,
    compiled: bool = False,
    tf32: bool = False,
    constants: Constants | None = None,
) -> Rates:
    """Derive from a card's data sheet how fast it works.

    Args:
        card, dtype, compiled, constants: as for `forecast_seconds`.
        tf32: whether matrix products in float32 may be rounded, as with
            `torch.backends.cuda.matmul.allow_tf32`; PyTorch rounds convolutions by default.

    Raises:
        ValueError: the dtype is not supported, or the card only emulates it.
    """
    name = dtype_name(dtype)
    if name == "bfloat16" and not card.bfloat16:
        raise ValueError(
            f"{card.name}, of {card.year}, only emulates bfloat16, which is slow: "
            "use dtype='float16'."
        )
    constants = constants or read_constants()["all"]
    convolution, product, attention = _flops(card, name, tf32, constants)
    itemsize, bandwidth = DTYPES[name].itemsize, BANDWIDTH * card.bandwidth_gbs * 1e9
    uses_tensor_cores = card.tensor_cores if name != "float32" else card.bfloat16
    layout_seconds = 2 * itemsize / bandwidth if uses_tensor_cores else 0.0  # one read, one write
    return Rates(
        label=card.name,
        dtype=name,
        convolution=convolution,
        product=product,
        attention=attention,
        bandwidth=bandwidth,
        weight_seconds=itemsize / bandwidth,
        launch_seconds=LAUNCH_COMPILED if compiled else LAUNCH,
        saturating_results=TILE * card.multiprocessors,
        unfused_share=constants.unfused_share if compiled else 1.0,
        weight_layout_seconds=layout_seconds,
        layout_seconds=layout_seconds,
    )


@cache
def read_constants() -> Mapping[str, Constants]:
    """Read the fitted constants: to "all" published times, and to those "without" each family."""
    fitted = json.loads((DATA / "constants.json").read_text(encoding="utf-8"))
    return {name: Constants(**values) for name, values in fitted.items()}


def _flops(card: Card, dtype: str, tf32: bool, constants: Constants) -> tuple[float, float, float]:
    """Return operations per second of convolutions, matrix products and attention."""
    float32 = sustained_rate(card, "float32", constants.watts_float32)
    tensor = sustained_rate(card, "tensor", constants.watts)
    limit = tensor / 2 if card.halved else tensor
    convolution, product, attention = (
        min(share * tensor, limit)
        for share in (constants.convolution, PRODUCT, constants.attention)
    )
    if dtype != "float32":
        slow = WITHOUT_TENSOR_CORES * float32
        return (convolution, product, attention) if card.tensor_cores else (slow, slow, slow)
    if not card.bfloat16:  # no TF32 either
        return WINOGRAD * float32, float32, constants.attention * float32
    if tf32:
        return convolution / 2, product / 2, attention / 2
    return convolution / 2, float32, attention / 2 / EXACT


def sustained_rate(card: Card, unit: str, watts_at_12_nm: float) -> float:
    """Return the operations per second that a card sustains within its power limit."""
    peak = card.peak(unit)
    watts = peak / 1e12 * watts_at_12_nm * card.process_nm / 12
    return peak * min(1.0, card.watts / watts) if watts else peak
