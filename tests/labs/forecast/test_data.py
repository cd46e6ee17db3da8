"""The stored data: cards, published figures and fitted constants, each with a source."""

import csv
import re

import pytest

from helpers import MODELS
from helpers.loading import DTYPES
from labs.forecast.dry_run import ATTENTION
from labs.forecast.gpus import ARCHITECTURES, CARDS, DATA, find_card
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
def test_published_figures_have_known_cards_models_settings_and_a_source(rows):
    assert set(rows.gpu) <= set(CARDS)
    assert rows.model.str.match(r"SD([12]\.|XL )").all() and set(rows.model_shape) <= set(MODELS)
    assert set(rows.dtype) <= set(DTYPES) and set(rows.attention) <= set(ATTENTION)
    assert rows.batch_size.min() >= 1
    assert set(rows.height) <= {256, 512, 768, 1024} and (rows.height == rows.width).all()
    assert [source for source in set(rows.source) if not SOURCE.match(source)] == []


def test_times_and_peaks_are_possible():
    assert set(TIMES.timed) == {"call", "step"}
    assert TIMES.seconds.between(0.005, 2000).all()
    assert TIMES.steps.between(1, 51).all() and TIMES.people.min() >= 1
    # No card computes more than its data sheet says: 0.8 TFLOP per sample and step at 512 x 512.
    samples = TIMES.batch_size * (1 + TIMES.guidance) * TIMES.steps.where(TIMES.timed == "call", 1)
    tflops = 0.8e12 * samples / TIMES.seconds
    peaks = TIMES.gpu.map(lambda name: max(CARDS[name].peak("tensor"), CARDS[name].peak("float32")))
    assert (tflops < peaks).all()
    assert set(PEAKS.measure) == {"allocated", "reserved", "process"}
    memory = PEAKS.gpu.map({name: card.memory_gib * 1024 for name, card in CARDS.items()})
    assert (PEAKS.mib <= 1.03 * memory).all() and PEAKS.mib.min() > 2000


def test_cards_are_plausible_and_found_by_all_of_their_names():
    for card in CARDS.values():
        assert card.architecture in ARCHITECTURES
        assert 2016 <= card.year <= 2026 and card.process_nm in {4, 5, 7, 8, 12, 16}
        assert 1000 <= card.boost_mhz <= 3000 and 10 <= card.multiprocessors <= 200
        assert 190 <= card.bandwidth_gbs <= 8000 and 70 <= card.watts <= 1000
        assert 5 < card.memory_gib < 192
        for name in (card.name, *card.also, f"NVIDIA {card.name}", card.name.lower()):
            assert find_card(name) is card


# Dense TFLOPS of float16 in tensor cores, from NVIDIA's data sheets.
SHEETS = {"T4": 65, "V100": 125, "A100": 312, "RTX 3090": 142, "RTX 4090": 330.3, "L4": 121}
SHEETS |= {"H100": 989.4, "RTX 5090": 419, "RTX 2080 Ti": 107.6, "RTX A6000": 154.8, "B200": 2250}


def test_a_cards_peak_is_that_of_its_data_sheet():
    peaks = {name: find_card(name).peak("tensor") / 1e12 for name in SHEETS}
    assert peaks == pytest.approx(SHEETS, rel=0.05)


def test_constants_were_fitted_without_every_family():
    constants = read_constants()
    fitted = TIMES[(TIMES.people == 1) & (TIMES.batch_size >= 4)]
    assert set(constants) == {"all"} | {f"without {family}" for family in fitted.family}
    for values in constants.values():
        assert min(values) > 0
        assert max(values.convolution, values.attention, values.unfused_share) < 1


def test_an_unknown_card():
    with pytest.raises(ValueError, match="no 'RTX 4900' in the table .*RTX 4090.*measure_machine"):
        find_card("RTX 4900")
