"""The cards that people run or rent, as their data sheets describe them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas

from helpers.hub import nearest

DATA = Path(__file__).parent / "data"


class Architecture(NamedTuple):
    """Floating-point operations of one multiprocessor in one clock tick."""

    float32: int
    tensor: int = 0  # float16 in tensor cores; 0 without these
    bfloat16: bool = False  # whether tensor cores take bfloat16, and TF32 at half the rate


# Source: NVIDIA's architecture whitepapers, dense figures.
ARCHITECTURES = {
    "Pascal": Architecture(256),
    "Pascal P100": Architecture(128),
    "Volta": Architecture(128, 1024),
    "Turing": Architecture(128, 1024),
    "Ampere A100": Architecture(128, 2048, True),
    "Ampere": Architecture(256, 1024, True),
    "Ada": Architecture(256, 1024, True),
    "Hopper": Architecture(256, 4096, True),
    "Blackwell": Architecture(256, 1024, True),
    "Blackwell B200": Architecture(256, 8192, True),
}


@dataclass(frozen=True)
class Card:
    """A row of `CARDS`: a GPU as its data sheet describes it."""

    name: str  # as PyTorch reports it, without the maker's name
    also: tuple[str, ...]  # other names
    architecture: str
    year: int
    process_nm: int
    multiprocessors: int
    boost_mhz: int
    halved: bool  # tensor cores accumulate in float32 at half their rate, as on GeForce cards
    bandwidth_gbs: int  # between the chip and its memory, at most
    watts: float
    memory_gib: float  # what PyTorch reports of the memory
    memory_seen: bool  # read in a message of PyTorch; otherwise estimated
    source: str

    @property
    def family(self) -> str:
        """The generation, such as "Ampere"."""
        return self.architecture.split()[0]

    @property
    def bfloat16(self) -> bool:
        """Whether the card computes in bfloat16, instead of emulating it slowly."""
        return ARCHITECTURES[self.architecture].bfloat16

    @property
    def tensor_cores(self) -> bool:
        """Whether the card has tensor cores."""
        return ARCHITECTURES[self.architecture].tensor > 0

    def attention_in_memory(self, attention: str) -> str:
        """Return the attention to forecast memory by: older cards seem to keep all scores."""
        return "classic" if attention == "sdpa" and not self.tensor_cores else attention

    def peak(self, unit: str) -> float:
        """Return operations per second at the boost clock, of "float32" or "tensor" units."""
        per_tick = getattr(ARCHITECTURES[self.architecture], unit)
        return float(per_tick) * self.multiprocessors * self.boost_mhz * 1e6


def find_card(name: str) -> Card:
    """Find a card by its name, as PyTorch or as people write it.

    Args:
        name: such as "T4", "RTX 4090", "a100", or what `torch.cuda.get_device_name()` returns.

    Raises:
        ValueError: there is no such card; the message names the nearest.
    """
    by_name = {_plain(alias): card for card in CARDS.values() for alias in (card.name, *card.also)}
    if (card := by_name.get(_plain(str(name)))) is None:
        raise ValueError(
            f"There is no {name!r} in the table of GPUs. {nearest(str(name), CARDS)} To forecast "
            "your own machine, use measure_machine(). To add a card, add its row to gpus.csv."
        )
    return card


def _plain(name: str) -> str:
    """Return a name in small letters, without the maker, the product line, dashes or spaces."""
    words = name.lower().replace("-", " ").split()
    return "".join(word for word in words if word not in {"nvidia", "geforce", "tesla", "gpu"})


def _read_cards() -> dict[str, Card]:
    rows = read_data("gpus.csv")
    rows["also"] = rows.also.str.findall("[^;]+").map(tuple)
    return {row["name"]: Card(**row) for row in rows.to_dict("records")}


def read_data(file: str) -> pandas.DataFrame:
    """Read a table of `data/`; "yes" and "no" become True and False."""
    return pandas.read_csv(
        DATA / file, keep_default_na=False, true_values=["yes"], false_values=["no"]
    )


CARDS: dict[str, Card] = _read_cards()
