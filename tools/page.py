"""`make page`: the embedded model as a static page that generates images in any browser.

Copies `web/` and ONNX Runtime Web to build/page, exports the networks to ONNX, serves the result.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import nn
from torch.nn import functional as F

from labs.images.describe import fingerprint

ROOT = Path(__file__).resolve().parent.parent
WEB, PAGE, MODELS = ROOT / "web", ROOT / "build" / "page", ROOT / "models"
RUNTIME = WEB / "node_modules" / "onnxruntime-web"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LARGE = 1024  # entries: smaller tensors keep float32


class UNetWithMaps(nn.Module):
    """A U-Net that also returns its cross-attention, averaged over heads and layers."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet, self.maps = unet, []
        for module in unet.modules():
            if isinstance(module, Attention):
                module.set_processor(AttnProcessor())
                module.get_attention_scores = partial(self.scores, module)

    def scores(
        self, attention: Attention, query: torch.Tensor, key: torch.Tensor, _: None
    ) -> torch.Tensor:
        """Diffusers' attention scores; those of each position for each token are also kept."""
        scores = (attention.scale * query @ key.transpose(1, 2)).softmax(-1)
        if attention.is_cross_attention:
            self.maps.append(scores.unflatten(0, (-1, attention.heads)).mean(1))
        return scores

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents (B, C, h, w), a timestep, states (B, 77, 128) to noise and maps (B, 77, h, w)."""
        self.maps.clear()
        noise = self.unet(sample, timestep, states, return_dict=False)[0]
        size = sample.shape[2:]
        levels = []
        for scores in self.maps:  # (B, positions, tokens)
            side = int(scores.shape[1] ** 0.5)
            image = scores.transpose(1, 2).unflatten(2, (side, side))
            levels.append(F.interpolate(image, size=tuple(size), mode="nearest"))
        return noise, torch.stack(levels).mean(0)


class Network(nn.Module):
    """A function of one tensor that uses a module, as a module that can be exported."""

    def __init__(self, module: nn.Module, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.module, self.forward = module, function


def export_network(
    network: nn.Module, inputs: dict[str, torch.Tensor], outputs: list[str], path: Path
) -> None:
    """Write a network to `path` in ONNX, for batches of 1 to 8."""
    batch = torch.export.Dim("batch", min=1, max=8)
    shapes = tuple({0: batch} if tensor.ndim else None for tensor in inputs.values())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(), tuple(inputs.values()), dynamo=True, input_names=list(inputs),
            output_names=outputs, dynamic_shapes=shapes, verbose=False,
        )  # fmt: skip
    program.optimize()
    save_model(program.model_proto, path)


def save_model(model: object, path: Path) -> None:
    """Save an ONNX model. Large weights that float16 holds exactly are stored in float16, and cast
    when they are loaded."""
    import onnx
    from onnx import helper, numpy_helper

    for weight in model.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype != np.float32 or array.size < LARGE:
            continue
        halved = array.astype(np.float16)
        if np.array_equal(halved, array):
            name, half = weight.name, f"{weight.name}.half"
            weight.CopyFrom(numpy_helper.from_array(halved, half))
            cast = helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.save(model, path)


def export_model(folder: Path, few_steps: Path, destination: Path) -> dict[str, str | None]:
    """Write the networks of the pipeline in `folder`, and its U-Net with the LoRA weights for few
    steps merged. Return the fingerprint of all weights for each U-Net, by its file."""
    pipeline = DiffusionPipeline.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    encoder, unet, vae = pipeline.text_encoder, pipeline.unet, pipeline.vae
    tokens, size = pipeline.tokenizer.model_max_length, unet.config.sample_size
    destination.mkdir(parents=True, exist_ok=True)
    ids = torch.zeros(2, tokens, dtype=torch.int64)
    network = Network(encoder, lambda ids: encoder(ids)[0])
    export_network(network, {"ids": ids}, ["states"], destination / "text-encoder.onnx")
    latents = torch.zeros(2, unet.config.in_channels, size, size)
    scale = vae.config.scaling_factor
    network = Network(vae, lambda latents: vae.decode(latents / scale, return_dict=False)[0])
    export_network(network, {"latents": latents}, ["image"], destination / "decoder.onnx")
    states = torch.zeros(2, tokens, unet.config.cross_attention_dim)
    inputs = {"sample": latents, "timestep": torch.tensor(999.0), "states": states}
    outputs = ["noise", "maps"]
    export_network(UNetWithMaps(unet), inputs, outputs, destination / "unet.onnx")
    weights = {"unet.onnx": fingerprint(pipeline, {})}
    pipeline.load_lora_weights(few_steps)
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    export_network(UNetWithMaps(unet), inputs, outputs, destination / "unet-few-steps.onnx")
    return weights | {"unet-few-steps.onnx": fingerprint(pipeline, {})}


def build_page(page: Path = PAGE) -> None:
    """Write everything that the browser needs into a folder.

    Raises:
        FileNotFoundError: ONNX Runtime Web is not there.
    """
    if not RUNTIME.is_dir():
        raise FileNotFoundError(
            "ONNX Runtime Web is missing: install Node.js, then run 'make page', which fetches it."
        )
    shutil.rmtree(page, ignore_errors=True)
    page.mkdir(parents=True)
    for name in ("index.html", "style.css"):
        shutil.copy(WEB / name, page)
    shutil.copytree(WEB / "js", page / "js")
    (page / "ort").mkdir()
    for name in RUNTIME_FILES:
        shutil.copy(RUNTIME / "dist" / name, page / "ort")
    shutil.copy(WEB / "onnxruntime-LICENSE", page / "ort" / "LICENSE")
    model = page / "model"
    weights = export_model(MODELS / "tiny-portraits", MODELS / "tiny-portraits-lcm", model)
    shutil.copy(MODELS / "tiny-portraits" / "tokenizer" / "tokenizer.json", model)
    vocabulary = json.loads((MODELS / "tiny-judge/vocabulary.json").read_text(encoding="utf-8"))
    manifest = {
        "sizes": {path.name: path.stat().st_size for path in sorted(model.iterdir())},
        "weights": weights,
        "vocabulary": {name: {"values": entry["values"]} for name, entry in vocabulary.items()
                       if name != "direction"},
    }  # fmt: skip
    (model / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    compress(page)


def compress(folder: Path) -> None:
    """Write a compressed copy beside each file that becomes at least a tenth smaller."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        packed = gzip.compress(data, 9, mtime=0)
        if len(packed) < 0.9 * len(data):
            path.with_name(f"{path.name}.gz").write_bytes(packed)


class PageServer(ThreadingHTTPServer):
    """A server for a room, whose browsers open six connections each at the same moment."""

    request_queue_size = 512  # the default of 5 makes the sixth visitor wait for a second or more
    daemon_threads = True


class PageHandler(SimpleHTTPRequestHandler):
    """Serves the page, compressed where a compressed copy exists, and lets it use threads."""

    protocol_version = "HTTP/1.1"
    packed = False
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }  # fmt: skip

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Answer with the compressed copy of a file, if there is one and the browser takes it."""
        name = self.path.partition("?")[0]
        accepted = "gzip" in self.headers.get("Accept-Encoding", "")
        self.packed = accepted and Path(self.translate_path(f"{name}.gz")).is_file()
        if self.packed:
            self.path = f"{name}.gz"
        return super().send_head()

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """The type of a file, or of what a compressed copy holds."""
        return super().guess_type(str(path).removesuffix(".gz"))

    def end_headers(self) -> None:
        """Isolate the page, which browsers ask for before they share memory between threads."""
        if self.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Cache-Control", "no-cache")  # ask whether a kept copy is still current
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a room full of readers would fill the terminal."""


def serve_page(host: str, port: int) -> None:
    """Serve build/page until Ctrl-C, and say at which address."""
    handler = partial(PageHandler, directory=str(PAGE))
    try:
        server = PageServer((host, port), handler)
    except OSError as error:
        sentence = f"{host}:{port} cannot be used ({error.strerror}): check the host, or choose "
        sentence += f"another --port, such as {port + 1} (with make: PORT={port + 1})."
        raise SystemExit(sentence) from None
    with server, suppress(KeyboardInterrupt):
        print(f"The page is at http://{local_address(host)}:{server.server_port}; Ctrl-C ends it.")
        server.serve_forever()


def local_address(host: str) -> str:
    """The address that other devices reach this machine at, where it listens for them."""
    if host != "0.0.0.0":
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the network card
        except OSError:
            return "localhost"
        return str(probe.getsockname()[0])


def main() -> None:
    """Build, serve, or both."""
    parser = argparse.ArgumentParser("python -m tools.page", description=__doc__)
    parser.add_argument("what", choices=("build", "serve", "both"))
    parser.add_argument("--host", default="localhost", help="0.0.0.0 to let a room in")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    if options.what != "serve":
        build_page()
    if options.what != "build":
        serve_page(options.host, options.port)


if __name__ == "__main__":
    main()
