// The page: reads the controls, sends requests to the worker, shows what it sends back.

import { explainGuidance, highlightWords, paint, toBlob } from "./pictures.js";
import { readTexts, writeTexts } from "./png.js";
import { fromLink, fromTexts, LIMITS, problemOf, toLink, toTexts } from "./settings.js";
import { makeChips } from "./words.js";

const DEFAULTS = { prompt: "portrait photo of a old warrior chief", negativePrompt: "", seed: "0", steps: 20, guidanceScale: 7.5, scheduler: "DPMSolverMultistepScheduler" };
const FEW_STEPS = { scheduler: "LCMScheduler", steps: 4, guidanceScale: 1 };
const MAX_RESULTS = 50;
const WITH_STEPS = 4; // results whose steps are kept: older ones keep their last, so that memory stays flat
const EARLY_STEP = 3; // where guidance still changes much

const get = (id) => document.getElementById(id);
const inputs = { prompt: get("prompt"), negativePrompt: get("negative-prompt"), seed: get("seed"), steps: get("steps"), guidanceScale: get("guidance"), scheduler: get("scheduler") };
const results = []; // of this visit: {settings, words, frames, maps, canvas, complete}
let running = null; // the result that is being generated
let shown = null;
let requests = 0;
let explaining = false; // whether the worker computes an explanation
let outdated = false; // whether the controls have changed since it was asked for
let weights = {}; // fingerprints, to tell whether an image was made with the weights of this page
let refreshChips = () => {};

// --- controls ---------------------------------------------------------------------------------------------------

for (const [name, limits] of Object.entries(LIMITS)) Object.assign(inputs[name], limits);

function readControls() {
  const values = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]));
  return { ...values, seed: values.seed.trim(), steps: Number(values.steps), guidanceScale: Number(values.guidanceScale) };
}

let fewSteps = false; // whether the few-step scheduler is chosen

function setControls(settings) {
  for (const [name, value] of Object.entries(settings)) inputs[name].value = value;
  fewSteps = inputs.scheduler.value === FEW_STEPS.scheduler;
  showValues();
}

function showValues() {
  get("steps-value").value = inputs.steps.value;
  get("guidance-value").value = inputs.guidanceScale.value;
  refreshChips();
}

function say(text) {
  get("status").textContent = text;
}

inputs.scheduler.addEventListener("change", () => {
  const few = inputs.scheduler.value === FEW_STEPS.scheduler;
  const { steps, guidanceScale } = few ? FEW_STEPS : DEFAULTS;
  if (few !== fewSteps) setControls({ steps, guidanceScale });
});
get("controls").addEventListener("input", showValues);
get("random-seed").addEventListener("click", () => {
  inputs.seed.value = crypto.getRandomValues(new Uint32Array(1))[0];
});
get("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  generate();
});
for (const name of ["prompt", "negativePrompt"]) {
  inputs[name].addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) generate();
  });
}
get("stop").addEventListener("click", () => worker.postMessage({ type: "stop" }));

// --- generating -------------------------------------------------------------------------------------------------

function generate() {
  if (get("generate").disabled) return;
  const settings = readControls();
  const problem = problemOf(settings);
  if (problem) return say(problem);
  running = { id: ++requests, settings, words: [], frames: [], maps: [], complete: false };
  setBusy(true);
  show(running);
  say("Generating ...");
  worker.postMessage({ type: "generate", id: running.id, request: settings });
}

function setBusy(busy) {
  get("generate").disabled = busy;
  get("stop").disabled = !busy;
  if (!busy) running = null;
}

const handlers = {
  progress({ loaded, total }) {
    get("progress").value = loaded / total;
    say(`Loading the model: ${(loaded / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`);
  },
  ready({ threads, manifest }) {
    get("progress").hidden = true;
    get("generate").disabled = get("open").disabled = false;
    weights = manifest.weights;
    refreshChips = makeChips(get("chips"), manifest.vocabulary, inputs.prompt);
    say(`Ready, with ${threads} ${threads === 1 ? "thread" : "threads"}: choose Generate, or press Ctrl+Enter in the prompt.`);
  },
  note({ message }) {
    say(message);
  },
  prompt({ words, cut, unknown }) {
    running.words = words;
    const notes = [];
    if (cut) notes.push(`The prompt is longer than 77 tokens, the rest is ignored: "${cut.slice(0, 60)}".`);
    if (unknown.length) notes.push(`The model has never seen: ${unknown.join(", ")}.`);
    get("prompt-note").textContent = notes.join(" ");
    if (shown === running) showWords();
  },
  step({ id, index, steps, pixels, maps }) {
    if (running?.id !== id) return;
    running.frames.push(new ImageData(pixels, 128, 128));
    running.maps.push(maps);
    if (shown === running) showFrame(index);
    say(`Step ${index + 1} of ${steps}`);
  },
  done({ seconds }) {
    running.complete = true;
    say(`Done: ${running.frames.length} steps in ${seconds.toFixed(1)} seconds.`);
    addResult(running);
    setBusy(false);
    show(results.at(-1));
  },
  stopped() {
    say("Stopped. The settings are kept: choose Generate to start again.");
    if (shown === running) get("image").setAttribute("aria-label", "An image that was stopped before it was finished");
    setBusy(false);
  },
  error({ message }) {
    say(message);
    explaining = false;
    setBusy(false);
    if (!results.length && !get("progress").hidden) get("generate").disabled = true;
  },
  explained(message) {
    explaining = false;
    if (message.id === shown.id) explainGuidance(get("predictions"), message);
    if (outdated) askForExplanation();
  },
};

// --- showing ----------------------------------------------------------------------------------------------------

const describe = ({ prompt, seed, steps }) => `Image for the prompt "${prompt}", seed ${seed}, ${steps} steps`;

function show(result) {
  shown = result;
  const count = result.frames.length;
  get("step").max = Math.max(0, (result.complete ? count : result.settings.steps) - 1);
  get("step").disabled = !count;
  get("strip").replaceChildren();
  for (const id of ["save", "link"]) get(id).disabled = !result.complete;
  get("image").setAttribute("aria-label", result.complete ? describe(result.settings) : "An image that is being generated");
  showWords();
  if (count) showFrame(count - 1);
  else paint(get("image"), null);
}

function showWords() {
  highlightWords(get("attended"), get("attention"), shown.words, () => shown.maps);
}

function showFrame(index) {
  const strip = get("strip");
  for (let i = strip.children.length; i < shown.frames.length; i++) {
    const item = document.createElement("li");
    item.append(paint(document.createElement("canvas"), shown.frames[i]));
    item.firstChild.setAttribute("aria-hidden", "true");
    item.addEventListener("click", () => showFrame(i));
    strip.append(item);
  }
  [...strip.children].forEach((item, i) => item.setAttribute("aria-current", i === index));
  paint(get("image"), shown.frames[index]);
  get("step").disabled = false;
  get("step").value = index;
  const dropped = shown.complete ? shown.settings.steps - shown.frames.length : 0;
  get("step-value").value = `${index + 1 + dropped} of ${shown.settings.steps}`;
  askForExplanation();
}

get("step").addEventListener("input", ({ target }) => {
  if (Number(target.value) < shown.frames.length) showFrame(Number(target.value));
});

function askForExplanation() {
  get("scale-value").value = get("scale").value;
  if (!get("explain").open || !shown || running) return;
  const problem = shown !== results.at(-1) ? "Only the newest image that was finished can be explained: choose Generate."
    : shown.settings.guidanceScale > 1 ? "" : "This image was generated without guidance, from one prediction a step: choose a guidance scale above 1 and generate again.";
  get("unexplained").textContent = problem;
  get("predictions").hidden = Boolean(problem);
  if (problem) return;
  outdated = explaining; // one request at a time: a slider sends more than a phone can compute
  if (explaining) return;
  explaining = true;
  worker.postMessage({ type: "explain", id: shown.id, index: Number(get("step").value), scale: Number(get("scale").value) });
}

get("scale").addEventListener("input", askForExplanation);
get("explain").addEventListener("toggle", () => {
  if (get("explain").open && shown?.complete) showFrame(Math.min(EARLY_STEP, shown.frames.length - 1));
});

// --- this visit -------------------------------------------------------------------------------------------------

function addResult(result) {
  results.push(result);
  const item = document.createElement("li");
  const view = document.createElement("button");
  view.append(paint(document.createElement("canvas"), result.frames.at(-1)), `seed ${result.settings.seed}`);
  view.setAttribute("aria-label", `Show: ${describe(result.settings)}`);
  view.addEventListener("click", () => {
    show(result);
    setControls(result.settings);
  });
  const compare = document.createElement("button");
  compare.textContent = "Compare";
  compare.setAttribute("aria-label", `Compare with: ${describe(result.settings)}`);
  compare.addEventListener("click", () => compareWith(result));
  item.append(view, compare);
  get("results").prepend(item);
  if (results.length > MAX_RESULTS) {
    results.shift();
    get("results").lastChild.remove();
  }
  const older = results.at(-1 - WITH_STEPS);
  if (!older) return;
  older.frames = older.frames.slice(-1);
  older.maps = [older.maps.reduce((sum, map) => sum.map((value, i) => value + map[i]))];
}

function compareWith(result) {
  const off = get("other").dataset.id === String(result.id) && !get("other").hidden;
  get("other").hidden = get("compare-row").hidden = off;
  if (off) return;
  get("other").dataset.id = result.id;
  get("other").setAttribute("aria-label", `To compare with: ${describe(result.settings)}`);
  paint(get("other"), result.frames.at(-1));
  split();
}

function split() {
  get("other").style.clipPath = `inset(0 0 0 ${get("split").value}%)`;
}
get("split").addEventListener("input", split);

// --- files and links --------------------------------------------------------------------------------------------

get("save").addEventListener("click", async () => {
  const png = new Uint8Array(await (await toBlob(shown.frames.at(-1))).arrayBuffer());
  const file = new Blob([writeTexts(png, toTexts(shown.settings, weights))], { type: "image/png" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = `${shown.settings.prompt.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}-seed-${shown.settings.seed}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
});

get("link").addEventListener("click", async () => {
  history.replaceState(null, "", `#${toLink(shown.settings, DEFAULTS)}`); // leaves the controls as they are
  try {
    await navigator.clipboard.writeText(location.href);
    say("The link is copied.");
  } catch {
    say("The link stands in the address bar: copy it there.");
  }
});

get("open").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  try {
    setControls(fromTexts(readTexts(new Uint8Array(await file.arrayBuffer())), weights));
    say(`The settings of ${file.name} are set: choose Generate.`);
  } catch (error) {
    say(error.message);
  }
  target.value = "";
});

// --- start ------------------------------------------------------------------------------------------------------

setControls(fromLink(location.hash, DEFAULTS));
window.addEventListener("hashchange", () => setControls(fromLink(location.hash, DEFAULTS)));

/** Whether WebAssembly can compute four numbers at once, which the networks need (v128.const, drop). */
const hasSimd = WebAssembly.validate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12, ...new Uint8Array(16), 26, 11]));
let worker = null;
if (hasSimd) {
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => handlers[data.type](data);
  worker.onerror = () => handlers.error({ message: "This browser could not start the page: use a current Chrome, Edge, Firefox or Safari." });
  worker.postMessage({ type: "load" });
} else {
  say("This browser lacks WebAssembly SIMD: use Chrome 91, Edge 91, Firefox 89, Safari 16.4 or newer.");
}
