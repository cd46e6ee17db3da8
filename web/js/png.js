// Text chunks of PNG files: the settings that made an image travel inside it.
//
// Source: PNG specification, third edition, section 11.3.3 (tEXt and iTXt).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const HEADER_END = 33; // signature and IHDR
const MAX_TEXT = 500_000;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}

function textChunk(key, text) {
  // iTXt: keyword, NUL, not compressed, no language, no translated keyword, UTF-8 text
  const content = new TextEncoder().encode(`iTXt${key}\0\0\0\0\0${text}`);
  const chunk = new Uint8Array(content.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, content.length - 4);
  chunk.set(content, 4);
  view.setUint32(content.length + 4, crc(content));
  return chunk;
}

/**
 * Put text chunks into a PNG, right after its header.
 *
 * @param {Uint8Array} png
 * @param {Record<string, string>} texts
 * @returns {Uint8Array}
 */
export function writeTexts(png, texts) {
  const chunks = Object.entries(texts).map(([key, text]) => textChunk(key, text));
  const added = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const result = new Uint8Array(png.length + added);
  result.set(png.subarray(0, HEADER_END));
  let position = HEADER_END;
  for (const chunk of chunks) {
    result.set(chunk, position);
    position += chunk.length;
  }
  result.set(png.subarray(HEADER_END), position);
  return result;
}

/**
 * Read the text chunks of a PNG; compressed ones are left out.
 *
 * @param {Uint8Array} png
 * @returns {Record<string, string>}
 * @throws {Error} the file is no PNG
 */
export function readTexts(png) {
  if (SIGNATURE.some((byte, i) => png[i] !== byte)) throw new Error("This file is not a PNG image.");
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const texts = {};
  let position = SIGNATURE.length;
  while (position + 12 <= png.length) {
    const length = view.getUint32(position);
    const type = String.fromCharCode(...png.subarray(position + 4, position + 8));
    const data = png.subarray(position + 8, position + 8 + length);
    if ((type === "tEXt" || type === "iTXt") && length <= MAX_TEXT) addText(texts, type, data);
    position += length + 12;
  }
  return texts;
}

function addText(texts, type, data) {
  const end = data.indexOf(0);
  const key = new TextDecoder("latin1").decode(data.subarray(0, end));
  if (type === "tEXt") {
    texts[key] = new TextDecoder("latin1").decode(data.subarray(end + 1));
  } else if (data[end + 1] === 0) {
    const language = data.indexOf(0, end + 3);
    const translated = data.indexOf(0, language + 1);
    texts[key] = new TextDecoder().decode(data.subarray(translated + 1));
  }
}
