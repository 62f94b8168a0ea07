/**
 * Text and numbers as the page shows them. Pure; what comes out is text, never markup.
 */

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** One line of at most *limit* characters: line ends shown as ↵, controls left out. */
export function shortText(text, limit) {
  const line = text.replace(/\r?\n/g, "↵").replace(CONTROL, "").trim();
  const characters = [...line];
  return characters.length <= limit ? line : `${characters.slice(0, limit - 1).join("")}…`;
}

/** A token with its white space made visible, for where its exact text matters. */
export function visibleText(text) {
  return text
    .replace(/ /g, "␣")
    .replace(/\n/g, "↵")
    .replace(/\t/g, "⇥")
    .replace(CONTROL, "�");
}

/** 0.873 → "87 %", 0.0042 → "0.42 %". */
export function percent(share) {
  const value = share * 100;
  if (value >= 99.95) return `${value >= 99.995 ? "100" : value.toFixed(2)} %`;
  return `${value >= 10 ? value.toFixed(0) : value.toPrecision(2)} %`;
}

/** Seconds for people: "84 ms", "1.3 s". */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return `${seconds < 100 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}

export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** What can be read aloud now: everything up to the last end of a sentence, and the rest. */
export function splitSentences(text) {
  const end = Math.max(...[". ", "! ", "? ", ".\n", "\n"].map((mark) => lastEnd(text, mark)));
  return end <= 0 ? ["", text] : [text.slice(0, end).trim(), text.slice(end)];
}

function lastEnd(text, mark) {
  const at = text.lastIndexOf(mark);
  return at < 0 ? 0 : at + mark.length;
}
