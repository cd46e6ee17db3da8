// The settings of an image: checked, written as the notebooks' `save_image` writes them, read from either.

const CHUNK = "effective-diffusion";
const SAMPLERS = { DPMSolverMultistepScheduler: "DPM++ 2M", DDIMScheduler: "DDIM", LCMScheduler: "LCM" };
export const MAX_SEED = 2n ** 64n - 1n;
/** What the sliders can hold. */
export const LIMITS = { steps: { min: 1, max: 50, step: 1 }, guidanceScale: { min: 0, max: 15, step: 0.5 } };
const PIPELINE = "StableDiffusionPipeline";
const DTYPE = "float32";
const SIZE = 128;
const FEW_STEPS = "tiny-portraits-lcm"; // the LoRA weights that are merged into the U-Net for LCM

/**
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string} negativePrompt
 * @property {string} seed a whole number from 0 to 2**64 - 1, as text: JavaScript's numbers end at 2**53
 * @property {number} steps
 * @property {number} guidanceScale
 * @property {string} scheduler
 *
 * @typedef {Record<string, string>} Weights of each U-Net, by its file: the fingerprint of the pipeline that it is from
 */

const isFewSteps = (scheduler) => scheduler === "LCMScheduler";
const unetOf = (scheduler) => (isFewSteps(scheduler) ? "unet-few-steps.onnx" : "unet.onnx");
const fits = (value, { min, max, step }) => typeof value === "number" && value >= min && value <= max && Number.isInteger(value / step);

/** Return what is wrong with settings, in a sentence; "" if nothing is. @param {Settings} settings */
export function problemOf({ prompt, negativePrompt, seed, steps, guidanceScale, scheduler }) {
  if (Math.max(prompt.length, negativePrompt.length) > 10_000) return "The prompt is too long: use at most 10,000 characters.";
  if (!/^\d{1,20}$/.test(seed) || BigInt(seed) > MAX_SEED) return "The seed must be a whole number from 0 to 18446744073709551615.";
  if (!fits(steps, LIMITS.steps)) return `The number of steps must be a whole number from ${LIMITS.steps.min} to ${LIMITS.steps.max}.`;
  const { min, max, step } = LIMITS.guidanceScale;
  if (!fits(guidanceScale, LIMITS.guidanceScale)) return `The guidance scale must be a multiple of ${step} from ${min} to ${max}.`;
  if (!Object.keys(SAMPLERS).includes(scheduler)) return `This page has no ${scheduler}: choose one of ${Object.keys(SAMPLERS).join(", ")}.`;
  return "";
}

/** The text chunks of a PNG with these settings. @param {Settings} settings @param {Weights} weights */
export function toTexts(settings, weights) {
  const { prompt, negativePrompt, seed, steps, guidanceScale, scheduler } = settings;
  const json = {
    prompt, negative_prompt: negativePrompt, seed: 0, num_inference_steps: steps, guidance_scale: guidanceScale,
    scheduler, height: SIZE, width: SIZE, model: "tiny-portraits", pipeline: PIPELINE, dtype: DTYPE,
    weights: weights[unetOf(scheduler)], loras: {},
  };
  // A seed beyond 2**53 survives only as digits, not as a JavaScript number.
  const full = JSON.stringify(json).replace('"seed":0', `"seed":${BigInt(seed)}`);
  const values = `Steps: ${steps}, Sampler: ${SAMPLERS[scheduler]}, CFG scale: ${guidanceScale}, Seed: ${BigInt(seed)}, Size: ${SIZE}x${SIZE}, Model: tiny-portraits`;
  const negative = negativePrompt ? `Negative prompt: ${negativePrompt}\n` : "";
  const lora = isFewSteps(scheduler) ? ` <lora:${FEW_STEPS}:1>` : "";
  return { parameters: `${prompt}${lora}\n${negative}${values}`, [CHUNK]: full };
}

/**
 * Read settings from the text chunks of a PNG.
 *
 * @param {Record<string, string>} texts
 * @param {Weights} weights
 * @returns {Settings}
 * @throws {Error} there are none, or this page cannot generate the image again
 */
export function fromTexts(texts, weights) {
  if (!(CHUNK in texts)) throw new Error("This image holds no settings: only images saved here or in the notebooks do.");
  const seed = texts[CHUNK].match(/"seed":\s*(\d+)\s*[,}]/)?.[1] ?? "";
  let data = null;
  try {
    data = JSON.parse(texts[CHUNK]);
  } catch {
    // null is refused next
  }
  if ([data?.prompt, data?.negative_prompt ?? ""].some((text) => typeof text !== "string")) throw new Error("The settings in this image are damaged: open the file as it was first saved.");
  if (data.model !== "tiny-portraits") throw new Error(`This image was made by another model (${data.model}).`);
  if ((data.pipeline || PIPELINE) !== PIPELINE) throw new Error(`This image was made by ${data.pipeline}: this page has only ${PIPELINE}, which starts from noise.`);
  if ((data.dtype ?? DTYPE) !== DTYPE) throw new Error(`This image was made in ${data.dtype}: this page computes in ${DTYPE}, so its image would differ.`);
  if ([data.height, data.width].some((side) => (side ?? SIZE) !== SIZE)) throw new Error(`This image has another size than the ${SIZE} x ${SIZE} pixels of this page.`);
  if (!Object.keys(SAMPLERS).includes(data.scheduler)) throw new Error(`This image was made with ${data.scheduler}, which this page does not have.`);
  const settings = {
    prompt: data.prompt, negativePrompt: data.negative_prompt ?? "", seed,
    steps: data.num_inference_steps, guidanceScale: data.guidance_scale, scheduler: data.scheduler,
  };
  const problem = problemOf(settings);
  if (problem) throw new Error(`This page cannot generate this image again. ${problem}`);
  const { [FEW_STEPS]: fewSteps = 0, ...others } = data.loras ?? {};
  const loras = Object.keys(others).join(", ");
  if (loras) throw new Error(`This image was made with ${loras}, which this page does not have.`);
  // Without a fingerprint, only the name of the LoRA weights tells which U-Net it was.
  const same = data.weights ? data.weights === weights[unetOf(data.scheduler)] : fewSteps === Number(isFewSteps(data.scheduler));
  if (!same) throw new Error(`This image was made with other weights than this page uses with ${SAMPLERS[data.scheduler]}.`);
  return settings;
}

/** The part of a link after "#" that holds prompt, seed and what else differs from the page's defaults. */
export function toLink(settings, defaults) {
  const changed = Object.entries(settings).filter(([name, value]) => name === "prompt" || name === "seed" || value !== defaults[name]);
  return new URLSearchParams(changed).toString();
}

/** The settings in a link; what it leaves out, or says wrongly, is the default's. */
export function fromLink(hash, defaults) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  let settings = { ...defaults };
  for (const [name, value] of Object.entries(defaults)) {
    if (!found.has(name)) continue;
    const changed = { ...settings, [name]: typeof value === "number" ? Number(found.get(name) || NaN) : found.get(name) };
    if (!problemOf(changed)) settings = changed;
  }
  return settings;
}
