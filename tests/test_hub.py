"""Models from the Hub: huggingface_hub and diffusers as they are, a Hub on loopback."""

import shutil

import pytest
from fake_hub import Hub
from reader import Reader

from helpers import MODELS, MODELS_FOLDER
from helpers.models import REVISIONS

SD = MODELS["stable-diffusion-v1-5"]
EARLIER = MODELS[SD.earlier]
TINY = MODELS_FOLDER / "tiny-portraits"
UNET = "unet/diffusion_pytorch_model.safetensors"
LOAD = "pipeline = load_pipeline({!r}, device='cpu', dtype='float32')"
LOAD_SD = LOAD.format(SD.name)
FIND_VAE = f"checkpoint({SD.vae!r})"
LOAD_JUDGE = f"load_judge({SD.judge!r}, device='cpu')"
# What the real repositories hold and nobody needs: as large again, or pickles.
UNNEEDED = {
    SD.id: [
        "README.md",
        "v1-5-pruned.safetensors",
        "v1-5-pruned-emaonly.ckpt",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "text_encoder/model.fp16.safetensors",
    ],
    SD.vae: ["README.md", "diffusion_pytorch_model.bin", "unet/of_a_pipeline.safetensors"],
    SD.judge: ["README.md", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"],
}


def copy_with(source, folder, others=()):
    shutil.copytree(source, folder)
    for name in others:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not needed")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    shelf = tmp_path_factory.mktemp("shelf")
    pickles = copy_with(TINY, shelf / "pickles")
    for file in pickles.rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    repositories = {
        SD.id: copy_with(TINY, shelf / "pipeline", UNNEEDED[SD.id]),
        EARLIER.id: TINY,
        SD.vae: copy_with(TINY / "vae", shelf / "vae", UNNEEDED[SD.vae]),
        SD.judge: copy_with(MODELS_FOLDER / "tiny-judge", shelf / "judge", UNNEEDED[SD.judge]),
        "some/gated": copy_with(TINY, shelf / "gated", ["weights.safetensors"]),
        "some/large": TINY,
        "some/pickles": pickles,
    }
    with Hub(repositories, revisions=REVISIONS, gated={"some/gated"}) as server:
        yield server


@pytest.fixture(scope="module")
def readers(server, tmp_path_factory):
    """Two who share a cache, one online, one offline and in CI; their imports take the time."""
    cache = tmp_path_factory.mktemp("cache")
    endpoint = {"HF_ENDPOINT": server.endpoint()}
    online = Reader(cache, **endpoint)
    offline = Reader(cache, **endpoint, HF_HUB_OFFLINE="1", CI="true")
    # The client's retries, without the waits between them.
    online.order("import time; pause = time.sleep; time.sleep = lambda s: pause(s / 100)")
    yield online, offline
    online.close()
    offline.close()


@pytest.fixture
def hub(server):
    """The Hub, with nothing asked of it yet; as it was, afterwards."""
    server.requests.clear()
    repositories, revisions = dict(server.repositories), dict(server.revisions)
    yield server
    server.repositories, server.revisions = repositories, revisions
    server.breaks_at, server.hangs_up = None, False
    server.start()


@pytest.fixture
def reader(readers):
    return readers[0]


def test_a_first_download_shows_license_size_place_and_progress(hub, reader):
    reader.forget(SD.id)
    loaded = reader.run(LOAD_SD)
    assert loaded.error == ""
    (sentence,) = loaded.printed.splitlines()
    for fact in (SD.name, "5.5 GB", "CreativeML OpenRAIL-M", str(reader.cache), f"/{SD.id}"):
        assert fact in sentence
    assert "Fetching" in loaded.bars


@pytest.mark.parametrize(
    ("hub_id", "code"),
    [
        (SD.id, f"checkpoint({SD.name!r})"),
        (SD.vae, FIND_VAE),
        (SD.judge, f"checkpoint({SD.judge!r})"),
    ],
)
def test_what_is_needed_comes_from_the_hub_and_then_from_the_cache(hub, reader, hub_id, code):
    reader.forget(hub_id)
    assert reader.run(code).error == ""
    assert hub.files_asked_for() == set(hub.files(hub_id)) - set(UNNEEDED[hub_id])
    assert any(REVISIONS[hub_id] in request for request in hub.requests)
    hub.requests.clear()
    again = reader.run(code)
    assert (again.printed, again.error) == ("", "")
    assert hub.files_asked_for() == set()


@pytest.mark.parametrize("code", [LOAD_SD, FIND_VAE, LOAD_JUDGE])
def test_what_is_in_the_cache_needs_no_hub(hub, readers, code):
    reader, offline = readers
    reader.run(code)
    hub.requests.clear()
    alone = offline.run(code)
    assert (alone.printed, alone.error) == ("", "")
    assert "%|" not in alone.bars  # it is in CI
    assert hub.requests == []
    hub.hangs_up = True
    assert reader.run(code).error == ""
    hub.stop()
    assert reader.run(code).error == ""


def test_a_download_that_breaks_off_says_so_and_is_finished_later(hub, reader):
    load = LOAD.format(SD.earlier)
    reader.forget(EARLIER.id)
    hub.breaks_at = UNET
    for _ in range(2):  # the second time, the Hub is gone from the start
        broken = reader.run(load)
        assert broken.error.startswith("ConnectionError: The Hub cannot be reached (ConnectError)")
        assert f"'{EARLIER.id}' is not completely in the cache" in broken.error
        assert "files that have arrived are kept" in broken.error
    hub.breaks_at = None
    hub.start()
    assert reader.run(load).error == ""


def test_what_is_not_in_the_cache_is_out_of_reach_offline(readers):
    for code in ("load_pipeline('some/other')", "load_judge('some/other')"):
        error = readers[1].run(code).error
        assert error.startswith("ConnectionError: The Hub cannot be reached (OfflineModeIsEnabled)")
        assert error.endswith("or use the embedded 'tiny-portraits' and 'tiny-judge'.")


EVERY_LOADER = ["load_pipeline({!r})", "load_judge({!r})"]


@pytest.mark.parametrize("code", EVERY_LOADER)
@pytest.mark.parametrize(
    ("hub_id", "message"),
    [("some/gated", "Cannot access gated repo"), ("some/missing", "Repository Not Found")],
)
def test_a_model_that_may_not_be_read_or_is_not_there(hub, reader, code, hub_id, message):
    error = reader.run(code.format(hub_id)).error
    assert error.startswith(f"ValueError: The Hub refuses '{hub_id}': ") and message in error


def test_a_mirror_that_is_gone_names_what_to_load_instead(hub, reader):
    reader.forget(SD.id)
    del hub.repositories[SD.id]
    error = reader.run(LOAD_SD).error
    assert error.endswith(f"Load {SD.earlier!r} instead, the checkpoint before it.")


@pytest.mark.parametrize("code", EVERY_LOADER)
def test_pickles_are_refused_and_not_fetched(hub, reader, code):
    error = reader.run(code.format("some/pickles")).error
    assert error.startswith("ValueError: ") and "'some/pickles'" in error
    assert "pickle files" in error
    assert not [name for name in hub.files_asked_for() if name.endswith(".bin")]


def test_a_whole_pipeline_is_not_taken_for_weights(hub, reader):
    error = reader.run(EVERY_LOADER[1].format("some/large")).error
    assert error.startswith("ValueError: There are no safetensors files in 'some/large': ")
    assert error.endswith("subfolders are not searched.")
