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
  for (const changes of [{}, { prompt: "🙂 königin, \"quoted\"\nline" }, { seed: "18446744073709551615" }, { negativePrompt: "smiling", steps: 4 }]) {
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

test("a link holds prompt, seed and what differs from the defaults", () => {
  const settings = { ...DEFAULTS, prompt: "a queen & a knight", seed: "7", steps: 10 };
  const link = toLink(settings, DEFAULTS);
  assert.deepEqual(fromLink(`#${link}`, DEFAULTS), settings);
  assert.ok(!link.includes("guidanceScale"));
});

test("a link that says nonsense leaves the defaults", () => {
  assert.deepEqual(fromLink("#steps=many&seed=-1", DEFAULTS), DEFAULTS);
  assert.deepEqual(fromLink("", DEFAULTS), DEFAULTS);
});

test("settings out of range are named", () => {
  assert.equal(problemOf(DEFAULTS), "");
  for (const [change, word] of [[{ seed: "-1" }, "seed"], [{ seed: "18446744073709551616" }, "seed"], [{ seed: "1.5" }, "seed"], [{ steps: 0 }, "steps"], [{ guidanceScale: NaN }, "guidance"], [{ scheduler: "Euler" }, "Euler"]]) {
    assert.match(problemOf({ ...DEFAULTS, ...change }), new RegExp(word));
  }
});

test("a word is put in, taken out, or takes the place of its rival", () => {
  assert.equal(togglePhrase("a knight", "smiling", ["serious"]), "a knight, smiling");
  assert.equal(togglePhrase("a knight, smiling, 50mm", "smiling", ["serious"]), "a knight, 50mm");
  assert.equal(togglePhrase("a knight, serious eyes", "smiling", ["serious", "serious eyes"]), "a knight, smiling");
  assert.equal(togglePhrase("photo of a knight", "queen", ["knight"], true), "photo of a queen");
  assert.equal(togglePhrase("photo of a knight", "knight", ["queen"], true), "photo of a knight");
  assert.equal(togglePhrase("", "queen", ["knight"], true), "queen");
});
