// The words that the model knows, as chips that put a phrase into the prompt or take it out.

const LABELS = { subject: "Who", age: "Age", make_up: "Make-up", figure: "Clothes", background: "Background", view: "View", gaze: "Gaze", mood: "Mood", lens: "Lens", light: "Light", style: "Style" };

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const find = (phrase) => new RegExp(`(?<![\\p{L}-])${escape(phrase)}(?![\\p{L}-])`, "iu");

/**
 * Put a phrase into a prompt in the place of its rivals, or take it out if it is there.
 *
 * @param {string} prompt
 * @param {string} phrase
 * @param {string[]} rivals the phrases of the other values of the same attribute
 * @param {boolean} needed whether the prompt needs one of them (a subject): it is never taken out
 */
export function togglePhrase(prompt, phrase, rivals, needed = false) {
  if (find(phrase).test(prompt)) return needed ? prompt : tidy(prompt.replace(find(phrase), ""));
  const rival = [...rivals].sort((a, b) => b.length - a.length).find((words) => find(words).test(prompt));
  if (rival) return prompt.replace(find(rival), phrase);
  if (needed) return tidy(`${phrase}, ${prompt}`);
  return tidy(`${prompt}, ${phrase}`);
}

function tidy(prompt) {
  return prompt.replace(/\s*,(\s*,)+/g, ",").replace(/\s+/g, " ").replace(/^[\s,]+|[\s,]+$/g, "").replace(/\s+,/g, ",");
}

/**
 * Fill an element with chips, a group for each attribute.
 *
 * @param {HTMLElement} place
 * @param {Record<string, {values: Record<string, string[]>}>} vocabulary
 * @param {HTMLTextAreaElement} prompt
 * @returns {() => void} marks the chips whose phrase stands in the prompt
 */
export function makeChips(place, vocabulary, prompt) {
  const chips = [];
  for (const [attribute, { values }] of Object.entries(vocabulary)) {
    const group = document.createElement("fieldset");
    group.append(Object.assign(document.createElement("legend"), { textContent: LABELS[attribute] ?? attribute }));
    const all = Object.values(values).flat();
    for (const phrases of Object.values(values)) {
      const chip = Object.assign(document.createElement("button"), { type: "button", textContent: phrases[0] });
      chip.addEventListener("click", () => {
        const rivals = all.filter((phrase) => !phrases.includes(phrase));
        prompt.value = togglePhrase(prompt.value, phrases[0], rivals, attribute === "subject");
        prompt.dispatchEvent(new Event("input", { bubbles: true }));
      });
      chips.push({ chip, phrases });
      group.append(chip);
    }
    place.append(group);
  }
  const refresh = () => {
    for (const { chip, phrases } of chips) chip.setAttribute("aria-pressed", phrases.some((phrase) => find(phrase).test(prompt.value)));
  };
  refresh();
  return refresh;
}
