// Prompts, settings and PNG files.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readTexts, writeTexts } from "../js/png.js";
import { fromLink, fromTexts, problemOf, toLink, toTexts } from "../js/settings.js";
import { togglePhrase } from "../js/words.js";

const DEFAULTS = { prompt: "a knight", negativePrompt: "", seed: "0", steps: 20, guidanceScale: 7.5, scheduler: "DPMSolverMultistepScheduler" };
const WEIGHTS = { "unet.onnx": "0123456789ab", "unet-few-steps.onnx": "ba9876543210" };
const PIXEL = Uint8Array.from(
  atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="),
  (character) => character.charCodeAt(0),
);

test("settings survive a PNG, whatever they hold", () => {
  for (const changes of [{}, { scheduler: "LCMScheduler" }, { prompt: "🙂 königin, \"quoted\"\nline" }, { seed: "18446744073709551615" }, { negativePrompt: "smiling", steps: 4 }]) {
    const settings = { ...DEFAULTS, ...changes };
    assert.deepEqual(fromTexts(readTexts(writeTexts(PIXEL, toTexts(settings, WEIGHTS))), WEIGHTS), settings);
  }
});

test("a PNG without settings, and a file that is none, get a sentence", () => {
  assert.throws(() => fromTexts(readTexts(PIXEL)), /holds no settings/);
  assert.throws(() => readTexts(new Uint8Array([1, 2, 3])), /not a PNG/);
  for (const damaged of ["{", "null", "5", "[]", '"a"', '{"model":"tiny-portraits"}', '{"prompt":5}', '{"prompt":"a","negative_prompt":5}']) {
    assert.throws(() => fromTexts({ "effective-diffusion": damaged }, WEIGHTS), /damaged: open/);
  }
  assert.throws(() => fromTexts({ "effective-diffusion": '{"prompt":"a","seed":1,"model":"other/model"}' }), /another model/);
});

const read = (changes) => fromTexts({ "effective-diffusion": JSON.stringify({ prompt: "a", seed: 1, num_inference_steps: 50, guidance_scale: 3.5, scheduler: "DDIMScheduler", model: "tiny-portraits", ...changes }) }, WEIGHTS);

test("what this page cannot make again is refused", () => {
  for (const [changes, sentence] of [
    [{ num_inference_steps: 80 }, /cannot generate this image again. The number of steps must be a whole number from 1 to 50/],
    [{ guidance_scale: 18 }, /a multiple of 0.5 from 0 to 15/],
    [{ guidance_scale: 3.3 }, /a multiple of 0.5 from 0 to 15/],
    [{ guidance_scale: null }, /guidance scale/],
    [{ guidance_scale: "3.5" }, /guidance scale/],
    [{ seed: 1.5 }, /seed/],
    [{ scheduler: "toString" }, /made with toString, which/],
    [{ width: 192 }, /another size/],
    [{ pipeline: "StableDiffusionImg2ImgPipeline" }, /made by StableDiffusionImg2ImgPipeline/],
    [{ dtype: "bfloat16" }, /made in bfloat16/],
    [{ loras: { neon: 0.5 } }, /made with neon, which/],
    [{ weights: "ffffffffffff" }, /other weights than this page uses with DDIM/],
    [{ weights: WEIGHTS["unet-few-steps.onnx"] }, /other weights/],
    [{ loras: { "tiny-portraits-lcm": 1 } }, /other weights/],
    [{ scheduler: "LCMScheduler" }, /other weights/],
    [{ scheduler: "LCMScheduler", weights: WEIGHTS["unet.onnx"] }, /other weights/],
  ]) {
    assert.throws(() => read(changes), sentence, JSON.stringify(changes));
  }
});

test("what this page can make again is not refused", () => {
  for (const changes of [
    { pipeline: "StableDiffusionPipeline", dtype: "float32", weights: WEIGHTS["unet.onnx"], loras: {} },
    { pipeline: "", weights: null, height: null },
    { scheduler: "LCMScheduler", weights: WEIGHTS["unet-few-steps.onnx"], loras: {} }, // as after use_few_steps
    { scheduler: "LCMScheduler", loras: { "tiny-portraits-lcm": 1 } }, // as earlier versions of this page wrote it
  ]) {
    assert.equal(read(changes).prompt, "a");
  }
  assert.match(toTexts({ ...DEFAULTS, scheduler: "LCMScheduler" }, WEIGHTS).parameters, /<lora:tiny-portraits-lcm:1>/);
});

test("a link holds prompt, seed and what differs from the defaults", () => {
  const settings = { ...DEFAULTS, prompt: "a queen & a knight", seed: "7", steps: 10 };
  const link = toLink(settings, DEFAULTS);
  assert.deepEqual(fromLink(`#${link}`, DEFAULTS), settings);
  assert.ok(!link.includes("guidanceScale"));
});

test("what a link says wrongly is the default's", () => {
  assert.deepEqual(fromLink("#steps=80&guidanceScale=3.3&seed=-1&prompt=a+queen", DEFAULTS), { ...DEFAULTS, prompt: "a queen" });
  assert.deepEqual(fromLink("#steps=many&seed=-1&guidanceScale=", DEFAULTS), DEFAULTS);
  assert.deepEqual(fromLink("", DEFAULTS), DEFAULTS);
});

test("settings out of range are named", () => {
  assert.equal(problemOf(DEFAULTS), "");
  for (const [change, word] of [[{ seed: "-1" }, "seed"], [{ seed: "18446744073709551616" }, "seed"], [{ seed: "1.5" }, "seed"], [{ steps: 0 }, "steps"], [{ steps: 51 }, "steps"], [{ guidanceScale: 15.5 }, "guidance"], [{ guidanceScale: NaN }, "guidance"], [{ scheduler: "Euler" }, "Euler"]]) {
    assert.match(problemOf({ ...DEFAULTS, ...change }), new RegExp(word));
  }
});

test("a word is put in where captions have it, taken out, or replaces another value", () => {
  const vocabulary = {
    subject: { values: { knight: ["knight"], queen: ["queen"] } },
    age: { values: { young: ["young"], old: ["old", "elderly"], oldest: ["oldest", "ancient"] } },
    style: { values: { photo: ["portrait photo", "photo"], oil: ["oil painting"] } },
    mood: { values: { serious: ["serious eyes", "serious"], smiling: ["smiling"] } },
    figure: { values: { red: ["dressed in red", "red on"], blue: ["dressed in blue", "blue on"] } },
    background: { values: { red: ["red background", "on red"], blue: ["blue background", "on blue"] } },
  };
  for (const [before, attribute, value, after] of [
    ["a knight", "mood", "smiling", "a knight, smiling"],
    ["a knight, smiling, 50mm", "mood", "smiling", "a knight, 50mm"],
    ["a knight, serious eyes", "mood", "smiling", "a knight, smiling"],
    ["photo of a knight", "subject", "queen", "photo of a queen"],
    ["photo of a knight", "subject", "knight", "photo of a knight"],
    ["", "subject", "queen", "queen"],
    ["photo of a knight, 50mm", "age", "old", "photo of a old knight, 50mm"],
    ["photo of a old knight", "age", "oldest", "photo of the oldest knight"],
    ["photo of the oldest knight", "age", "oldest", "photo of a knight"],
    ["an elderly queen", "age", "young", "a young queen"],
    ["an elderly queen", "age", "oldest", "the oldest queen"],
    ["knight", "age", "young", "young knight"],
    ["portrait of a knight", "style", "oil", "oil painting of a knight"],
    ["portrait photo of a knight", "style", "oil", "oil painting of a knight"],
    ["oil painting of a knight", "style", "oil", "portrait of a knight"],
    ["a knight", "style", "photo", "portrait photo of a knight"],
    ["a queen, 50mm portrait photography", "style", "oil", "oil painting of a queen, 50mm portrait photography"],
    ["a knight, red on blue", "figure", "blue", "a knight, blue on blue"],
    ["a knight, red on blue", "figure", "red", "a knight, blue background"],
    ["a knight on a bicycle, red on blue", "figure", "red", "a knight on a bicycle, blue background"],
    ["a knight, red on blue, smiling", "background", "blue", "a knight, dressed in red, smiling"],
  ]) {
    assert.equal(togglePhrase(before, attribute, value, vocabulary), after);
  }
});
