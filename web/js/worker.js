// Everything that computes: downloads, networks, the loop. The page only sends requests and shows what comes back.

import * as ort from "../ort/ort.wasm.min.mjs";
import { Pipeline } from "./pipeline.js";
import { Tokenizer } from "./tokenizer.js";

const BASE = new URL("../model/", import.meta.url);
let pipeline = null;
let regularUnet = null;
let fewStepUnet = null;
let current = 0; // the number of the request that is running; 0: none
let trace = []; // the steps of the last image that was finished, for `explain`

ort.env.wasm.wasmPaths = new URL("../ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;

const handlers = { load, generate, stop, explain };

self.onmessage = async ({ data }) => {
  try {
    await handlers[data.type](data);
  } catch (error) {
    current = 0;
    postMessage({ type: "error", id: data.id, message: sentenceOf(error) });
  }
};

function sentenceOf(error) {
  const text = String(error?.message ?? error);
  if (error instanceof DownloadError) return text;
  if (/memory|allocat|out of bounds/i.test(text)) return "This device ran out of memory: close other tabs and load the page again.";
  return `Something went wrong in the browser: ${text}`;
}

class DownloadError extends Error {}

async function download(name, report) {
  let response;
  try {
    response = await fetch(new URL(name, BASE));
  } catch {
    throw new DownloadError(`${name} could not be downloaded: check the connection and load the page again.`);
  }
  if (!response.ok) throw new DownloadError(`${name} could not be downloaded (error ${response.status}): load the page again, or ask who runs the server.`);
  const parts = [];
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      report(part.value.length);
    }
  } catch {
    throw new DownloadError(`The download of ${name} broke off: load the page again.`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function openSession(name, report) {
  const bytes = await download(name, report);
  return ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
}

async function load() {
  const manifest = JSON.parse(new TextDecoder().decode(await download("manifest.json", () => {})));
  const names = ["text-encoder.onnx", "unet.onnx", "decoder.onnx", "tokenizer.json"];
  const total = names.reduce((sum, name) => sum + manifest.sizes[name], 0);
  let loaded = 0;
  const report = (bytes) => postMessage({ type: "progress", loaded: (loaded += bytes), total });
  const tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(await download("tokenizer.json", report))));
  const textEncoder = await openSession("text-encoder.onnx", report);
  const decoder = await openSession("decoder.onnx", report);
  regularUnet = await openSession("unet.onnx", report);
  pipeline = new Pipeline(ort, { textEncoder, unet: regularUnet, decoder }, tokenizer);
  postMessage({ type: "ready", threads: ort.env.wasm.numThreads, manifest });
}

async function generate({ id, request }) {
  current = id;
  if (request.scheduler === "LCMScheduler" && !fewStepUnet) {
    postMessage({ type: "note", id, message: "Downloading the weights for few steps ..." });
    fewStepUnet = await openSession("unet-few-steps.onnx", () => {});
  }
  pipeline.sessions.unet = request.scheduler === "LCMScheduler" ? fewStepUnet : regularUnet;
  const { words, cut } = pipeline.tokenizer.encode(request.prompt);
  const unknown = words.map(({ text }) => text).filter((text) => /\p{L}/u.test(text) && !pipeline.tokenizer.knows(text));
  postMessage({ type: "prompt", id, words, cut, unknown });
  const started = performance.now();
  const taken = [];
  for await (const step of pipeline.generate(request)) {
    taken.push(step);
    const last = step.index === step.steps - 1;
    const pixels = await pipeline.decode(last ? step.latents : step.original);
    await new Promise((resolve) => setTimeout(resolve)); // lets a message to stop arrive
    if (current !== id) return postMessage({ type: "stopped", id });
    postMessage({ type: "step", id, index: step.index, steps: step.steps, pixels, maps: step.maps });
  }
  current = 0;
  trace = taken;
  postMessage({ type: "done", id, seconds: (performance.now() - started) / 1000 });
}

function stop() {
  current = 0;
}

/** The predicted images of a step without the prompt, with it, and guided by `scale`. */
async function explain({ id, index, scale }) {
  const { before, timestep, conditional, unconditional } = trace[index];
  const { predictOriginal } = await import("./schedulers.js");
  const guess = (noise) => pipeline.decode(predictOriginal(before, noise, timestep));
  const guided = conditional.map((c, i) => unconditional[i] + scale * (c - unconditional[i]));
  const images = [await guess(unconditional), await guess(conditional), await guess(guided)];
  postMessage({ type: "explained", id, index, scale, images });
}
