// Painting images, attention maps and predictions on canvases.

const SIDE = 16; // of an attention map

/** Put an image on a canvas; null empties it. */
export function paint(canvas, image) {
  [canvas.width, canvas.height] = [128, 128];
  if (image) canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** A PNG file of an image. */
export function toBlob(image) {
  const canvas = paint(document.createElement("canvas"), image);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * List the words of the prompt as buttons; pointing at one lays its cross-attention over the image.
 *
 * @param {HTMLElement} list
 * @param {HTMLCanvasElement} canvas
 * @param {{text: string, first: number, last: number}[]} words
 * @param {() => Float32Array[]} readMaps the attention of the steps so far
 */
export function highlightWords(list, canvas, words, readMaps) {
  const hide = () => (canvas.style.opacity = 0);
  const makeWord = (word) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: word.text });
    for (const event of ["pointerenter", "focus"]) button.addEventListener(event, () => showMap(canvas, word, readMaps()));
    for (const event of ["pointerleave", "blur"]) button.addEventListener(event, hide);
    return button;
  };
  hide();
  list.replaceChildren(...words.map(makeWord));
}

/** Lay the attention to a word, averaged over its tokens and the steps so far, over the image. */
function showMap(canvas, { first, last }, maps) {
  const total = new Float32Array(SIDE * SIDE);
  for (const map of maps) {
    for (let token = first; token <= last; token++) {
      for (let i = 0; i < total.length; i++) total[i] += map[token * total.length + i];
    }
  }
  const [low, high] = [Math.min(...total), Math.max(...total)];
  const pixels = new Uint8ClampedArray(4 * total.length);
  total.forEach((value, i) => {
    const strength = (value - low) / (high - low || 1);
    pixels.set([255, 200 * strength, 0, 220 * strength], 4 * i);
  });
  [canvas.width, canvas.height] = [SIDE, SIDE];
  canvas.getContext("2d").putImageData(new ImageData(pixels, SIDE, SIDE), 0, 0);
  canvas.style.opacity = 1;
}

/** Show the predictions without the prompt, with it, their difference, and the guided one. */
export function explainGuidance(figures, { images, scale }) {
  const [without, withPrompt, guided] = images.map((pixels) => new ImageData(pixels, 128, 128));
  const difference = new ImageData(128, 128);
  difference.data.forEach((_, i, data) => {
    data[i] = i % 4 === 3 ? 255 : 128 + (withPrompt.data[i] - without.data[i]) / 2;
  });
  const canvases = figures.querySelectorAll("canvas");
  [without, withPrompt, difference, guided].forEach((image, i) => paint(canvases[i], image));
  figures.querySelector("figure:last-child figcaption").textContent = `guided, scale ${scale}`;
}
