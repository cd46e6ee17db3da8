"""The form of what is stored: cards, published figures and fitted constants, each with a source."""

import csv
import re
from itertools import pairwise

import pytest

from helpers import MODELS
from helpers.loading import DTYPES
from labs.forecast.gpus import ARCHITECTURES, CARDS, DATA, find_card
from labs.forecast.published import SHAPES, read_published_memory, read_published_seconds
from labs.forecast.rates import read_constants

TIMES, PEAKS = read_published_seconds(), read_published_memory()
FOUND = re.compile(r"^[\w.-]+/[\w.-]+ \S.* @[0-9a-f]{7,40}$|^[\w.-]+/[\w.-]+ \S.* @v?\d[\w.]*$")
YES = {"yes", "no"}


@pytest.fixture(params=["gpus", "published_seconds", "published_memory"])
def raw(request):
    with (DATA / f"{request.param}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_row_is_full_and_has_a_source(raw):
    assert all(None not in row and None not in row.values() for row in raw)
    may_be_empty = {"also", "note", "clock_mhz"}
    assert not [row for row in raw for name in row if not row[name] and name not in may_be_empty]
    assert all(row["source"].strip() == row["source"] for row in raw)


def test_no_row_stands_there_twice(raw):
    rows = [tuple(row.values()) for row in raw]
    assert len(set(rows)) == len(rows)


def test_what_is_yes_or_no_is_nothing_else(raw):
    names = {"halved", "memory_seen", "compiled", "channels_last", "tf32", "guidance"}
    names |= {"vae_slicing", "safety_checker"}
    assert {row[name] for row in raw for name in names & row.keys()} <= YES


@pytest.mark.parametrize("rows", [TIMES, PEAKS], ids=["times", "peaks"])
def test_published_figures_name_cards_models_and_settings_that_are_known(rows):
    assert set(rows.gpu) <= set(CARDS)
    assert set(rows.model) <= set(SHAPES) and set(SHAPES.values()) <= set(MODELS)
    assert set(rows.dtype) <= set(DTYPES)
    assert set(rows.attention) <= {"sdpa", "classic", "sliced"}
    assert rows.batch_size.min() >= 1
    assert set(rows.height) <= {256, 512, 768, 1024} and (rows.height == rows.width).all()
    assert [source for source in set(rows.source) if not FOUND.match(source)] == []


def test_times_can_be():
    assert set(TIMES.timed) == {"call", "step"}
    assert TIMES.seconds.between(0.005, 2000).all()
    assert TIMES.steps.between(1, 51).all() and TIMES.people.min() >= 1
    # No card computes more than its data sheet says: 0.8 TFLOP a sample and step at 512 x 512.
    samples = TIMES.batch_size * (1 + TIMES.guidance) * TIMES.steps.where(TIMES.timed == "call", 1)
    tflops = 0.8e12 * samples / TIMES.seconds
    peaks = TIMES.gpu.map(lambda name: max(CARDS[name].peak("tensor"), CARDS[name].peak("float32")))
    assert (tflops < peaks).all()


def test_a_claim_of_two_seconds_on_a_t4_cannot_be_and_is_not_there():
    t4 = TIMES[(TIMES.gpu == "T4") & (TIMES.timed == "call") & (TIMES.steps >= 50)]
    assert (t4.seconds / t4.batch_size).min() > 5
    assert 0.6 * CARDS["T4"].peak("tensor") < 0.8e12 * 2 * 50 / 2.0


def test_peaks_can_be():
    assert set(PEAKS.measure) == {"allocated", "reserved", "process"}
    memory = PEAKS.gpu.map({name: card.memory_gib * 1024 for name, card in CARDS.items()})
    assert (PEAKS.mib <= 1.03 * memory).all() and PEAKS.mib.min() > 2000


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_a_card_is_what_a_card_can_be(card):
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


@pytest.mark.parametrize("name", SHEETS)
def test_a_cards_peak_is_that_of_its_data_sheet(name):
    assert find_card(name).peak("tensor") / 1e12 == pytest.approx(SHEETS[name], rel=0.05)


# GiB in PyTorch's own out-of-memory messages.
SEEN = {"L4": 22.03, "RTX 5090": 31.36, "L40S": 44.42}


@pytest.mark.parametrize("name", SEEN)
def test_memory_is_what_pytorch_reports(name):
    assert CARDS[name].memory_gib == SEEN[name] and CARDS[name].memory_seen


def test_names_are_written_once():
    names = [re.sub(r"\W", "", one).lower() for c in CARDS.values() for one in (c.name, *c.also)]
    assert not [one for one, other in pairwise(sorted(names)) if one == other]


def test_constants_are_shares_and_watts_and_know_every_family_that_was_fitted():
    constants = read_constants()
    fitted = TIMES[(TIMES.people == 1) & (TIMES.batch_size >= 4)]
    names = {"all"} | {f"without {one}" for one in {*fitted.family, *fitted.gpu}}
    assert set(constants) == names
    for one in constants.values():
        assert min(one) > 0 and max(one.convolution, one.attention, one.fused) < 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RTX 4900", "no 'RTX 4900' in the table of GPUs. .*RTX 4090.*measure_machine"),
        ("M3 Max", "no 'M3 Max' in the table of GPUs"),
        ("", "no '' in the table of GPUs"),
    ],
)
def test_a_card_that_is_not_known(name, message):
    with pytest.raises(ValueError, match=message):
        find_card(name)
