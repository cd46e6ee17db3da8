// The page's arithmetic against PyTorch, Diffusers and Transformers: tests/web/test_page.py writes the references.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { SCHEDULERS } from "../js/pipeline.js";
import { Generator, randn } from "../js/random.js";
import { Tokenizer } from "../js/tokenizer.js";

const references = JSON.parse(readFileSync(process.env.REFERENCES, "utf8"));

function largestDifference(a, b) {
  assert.equal(a.length, b.length);
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i])), 0);
}

test("randn is PyTorch's, for every seed", () => {
  assert.equal(references.randn.length, 100);
  for (const { seed, values } of references.randn) {
    const drawn = randn(new Generator(BigInt(seed)), values.length);
    assert.ok(largestDifference([...drawn], values) <= 1e-6, `seed ${seed}`);
  }
});

test("a size that is no multiple of 16 is PyTorch's too", () => {
  const { seed, values } = references.randn_odd;
  assert.ok(largestDifference([...randn(new Generator(seed), values.length)], values) <= 1e-6);
});

for (const [name, Scheduler] of Object.entries(SCHEDULERS)) {
  test(`${name} takes the same steps as Diffusers`, () => {
    for (const [steps, expected] of Object.entries(references.schedulers[name])) {
      const scheduler = new Scheduler(Number(steps), new Generator(9));
      assert.deepEqual(scheduler.timesteps, expected.timesteps);
      let latents = randn(new Generator(3), 3072);
      scheduler.timesteps.forEach((t, i) => {
        const noise = latents.map((x) => Math.tanh(x / 2) + t / 1e6);
        latents = scheduler.step(noise, i, latents).latents;
      });
      assert.ok(largestDifference([...latents.slice(0, 20)], expected.last) <= 5e-5, `${steps} steps`);
    }
  });
}

test("tokens are those of CLIPTokenizer", () => {
  const tokenizer = new Tokenizer(references.tokenizer);
  for (const { prompt, ids } of references.tokens) assert.deepEqual(tokenizer.encode(prompt).ids, ids, prompt.slice(0, 80));
});

test("what a long prompt loses is named", () => {
  const tokenizer = new Tokenizer(references.tokenizer);
  assert.equal(tokenizer.encode("old ".repeat(75) + "warrior chief").cut, "warrior chief");
  assert.equal(tokenizer.encode("old ".repeat(75)).cut, "");
});

test("words and the positions of their tokens", () => {
  const { words } = new Tokenizer(references.tokenizer).encode("a Knight");
  assert.deepEqual(words.map(({ text }) => text), ["a", "knight"]);
  assert.equal(words[0].first, 1);
});
