"""The stored data: cards, published figures and fitted constants, each with a source."""

import csv
import re

import pytest

from labs.forecast.gpus import CARDS, DATA, find_card
from labs.forecast.published import read_published_memory, read_published_seconds
from labs.forecast.rates import read_constants

TIMES, PEAKS = read_published_seconds(), read_published_memory()
SOURCE = re.compile(r"^[\w.-]+/[\w.-]+ \S.* @([0-9a-f]{7,40}|v?\d[\w.]*)$")
MAY_BE_EMPTY = {"also", "note", "clock_mhz"}
YES_OR_NO = {"halved", "memory_seen", "compiled", "channels_last", "tf32", "guidance"}
YES_OR_NO |= {"vae_slicing", "safety_checker"}


@pytest.mark.parametrize("file", ["gpus", "published_seconds", "published_memory"])
def test_every_row_is_complete_and_occurs_once(file):
    with (DATA / f"{file}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert all(None not in row and None not in row.values() for row in rows)
    assert not [row for row in rows for name in row.keys() - MAY_BE_EMPTY if not row[name]]
    assert {row[name] for row in rows for name in YES_OR_NO & row.keys()} <= {"yes", "no"}
    assert len({tuple(row.values()) for row in rows}) == len(rows)


@pytest.mark.parametrize("rows", [TIMES, PEAKS], ids=["times", "peaks"])
def test_published_figures_have_a_known_model_and_a_source(rows):
    assert rows.model.str.match(r"SD([12]\.|XL )").all() and (rows.height == rows.width).all()
    assert [source for source in set(rows.source) if not SOURCE.match(source)] == []


def test_times_and_peaks_are_possible():
    assert set(TIMES.timed) == {"call", "step"}
    assert TIMES.steps.between(1, 51).all() and TIMES.people.min() >= 1
    # No card computes more than its data sheet says: 0.8 TFLOP per sample and step at 512 x 512.
    samples = TIMES.batch_size * (1 + TIMES.guidance) * TIMES.steps.where(TIMES.timed == "call", 1)
    tflops = 0.8e12 * samples / TIMES.seconds
    peaks = TIMES.gpu.map(lambda name: max(CARDS[name].peak("tensor"), CARDS[name].peak("float32")))
    assert (tflops < peaks).all()
    assert set(PEAKS.measure) == {"allocated", "reserved", "process"}
    memory = PEAKS.gpu.map({name: card.memory_gib * 1024 for name, card in CARDS.items()})
    assert (PEAKS.mib <= 1.03 * memory).all() and PEAKS.mib.min() > 2000


def test_cards_are_found_by_all_of_their_names():
    for card in CARDS.values():
        for name in (card.name, *card.also, f"NVIDIA {card.name}", card.name.lower()):
            assert find_card(name) is card


# Dense TFLOPS of float16 in tensor cores, from NVIDIA's data sheets.
SHEETS = {"T4": 65, "V100": 125, "A100": 312, "RTX 3090": 142, "RTX 4090": 330.3, "L4": 121}
SHEETS |= {"H100": 989.4, "RTX 5090": 419, "RTX 2080 Ti": 107.6, "RTX A6000": 154.8, "B200": 2250}


def test_a_cards_peak_is_that_of_its_data_sheet():
    peaks = {name: find_card(name).peak("tensor") / 1e12 for name in SHEETS}
    assert peaks == pytest.approx(SHEETS, rel=0.05)


def test_constants_were_fitted_without_every_family():
    fitted = TIMES[(TIMES.people == 1) & (TIMES.batch_size >= 4)]
    assert set(read_constants()) == {"all"} | {f"without {family}" for family in fitted.family}


def test_an_unknown_card():
    with pytest.raises(ValueError, match="no 'RTX 4900' in the table .*RTX 4090.*measure_machine"):
        find_card("RTX 4900")
