// Prompts, settings and PNG files.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readTexts, writeTexts } from "../js/png.js";
import { fromLink, fromTexts, problemOf, toLink, toTexts } from "../js/settings.js";
import { togglePhrase } from "../js/words.js";

const DEFAULTS = { prompt: "a knight", negativePrompt: "", seed: "0", steps: 20, guidanceScale: 7.5, scheduler: "DPMSolverMultistepScheduler" };
const PIXEL = Uint8Array.from(
  atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="),
  (character) => character.charCodeAt(0),
);

test("settings survive a PNG, whatever they hold", () => {
  for (const changes of [{}, { scheduler: "LCMScheduler" }, { prompt: "🙂 königin, \"quoted\"\nline" }, { seed: "18446744073709551615" }, { negativePrompt: "smiling", steps: 4 }]) {
    const settings = { ...DEFAULTS, ...changes };
    assert.deepEqual(fromTexts(readTexts(writeTexts(PIXEL, toTexts(settings)))), settings);
  }
});

test("a PNG without settings, and a file that is none, get a sentence", () => {
  assert.throws(() => fromTexts(readTexts(PIXEL)), /holds no settings/);
  assert.throws(() => readTexts(new Uint8Array([1, 2, 3])), /not a PNG/);
  assert.throws(() => fromTexts({ "effective-diffusion": "{" }), /damaged/);
  assert.throws(() => fromTexts({ "effective-diffusion": '{"prompt":"a","seed":1,"model":"other/model"}' }), /another model/);
});

test("what this page cannot make again is refused", () => {
  const chunk = (changes) => ({ "effective-diffusion": JSON.stringify({ prompt: "a", seed: 1, num_inference_steps: 4, guidance_scale: 1, scheduler: "LCMScheduler", model: "tiny-portraits", loras: { "tiny-portraits-lcm": 1 }, ...changes }) });
  assert.equal(fromTexts(chunk({})).scheduler, "LCMScheduler");
  assert.throws(() => fromTexts(chunk({ loras: {} })), /weights for few steps/);
  assert.throws(() => fromTexts(chunk({ scheduler: "DDIMScheduler" })), /weights for few steps/);
  assert.throws(() => fromTexts(chunk({ loras: { neon: 0.5 } })), /made with neon, which/);
  assert.throws(() => fromTexts(chunk({ unrecorded: "FreeU" })), /made with FreeU, which/);
  assert.throws(() => fromTexts(chunk({ width: 192 })), /another size/);
  assert.match(toTexts({ ...DEFAULTS, scheduler: "LCMScheduler" }).parameters, /<lora:tiny-portraits-lcm:1>/);
});

test("a link holds prompt, seed and what differs from the defaults", () => {
  const settings = { ...DEFAULTS, prompt: "a queen & a knight", seed: "7", steps: 10 };
  const link = toLink(settings, DEFAULTS);
  assert.deepEqual(fromLink(`#${link}`, DEFAULTS), settings);
  assert.ok(!link.includes("guidanceScale"));
});

test("what a link says wrongly is the default's", () => {
  assert.deepEqual(fromLink("#steps=many&seed=-1&prompt=a+queen", DEFAULTS), { ...DEFAULTS, prompt: "a queen" });
  assert.deepEqual(fromLink("#steps=many&seed=-1", DEFAULTS), DEFAULTS);
  assert.deepEqual(fromLink("", DEFAULTS), DEFAULTS);
});

test("settings out of range are named", () => {
  assert.equal(problemOf(DEFAULTS), "");
  for (const [change, word] of [[{ seed: "-1" }, "seed"], [{ seed: "18446744073709551616" }, "seed"], [{ seed: "1.5" }, "seed"], [{ steps: 0 }, "steps"], [{ guidanceScale: NaN }, "guidance"], [{ scheduler: "Euler" }, "Euler"]]) {
    assert.match(problemOf({ ...DEFAULTS, ...change }), new RegExp(word));
  }
});

test("a word is put in where captions have it, taken out, or takes the place of its rival", () => {
  const vocabulary = {
    subject: { values: { knight: ["knight"], queen: ["queen"] } },
    age: { values: { young: ["young"], old: ["old", "elderly"], oldest: ["oldest"] } },
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
    ["knight", "age", "young", "young knight"],
    ["portrait of a knight", "style", "oil", "oil painting of a knight"],
    ["portrait photo of a knight", "style", "oil", "oil painting of a knight"],
    ["oil painting of a knight", "style", "oil", "portrait of a knight"],
    ["a knight", "style", "photo", "portrait photo of a knight"],
    ["a knight, red on blue", "figure", "blue", "a knight, blue on blue"],
    ["a knight, red on blue", "figure", "red", "a knight, blue background"],
    ["a knight, red on blue, smiling", "background", "blue", "a knight, dressed in red, smiling"],
  ]) {
    assert.equal(togglePhrase(before, attribute, value, vocabulary), after);
  }
});
