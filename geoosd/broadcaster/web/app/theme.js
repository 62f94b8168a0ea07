/**
 * A theme of the wire (`Theme` in geoosd/wire/messages.py) as CSS variables and map colours.
 *
 * The names of the CSS variables are the contract with style.css. Text colours are moved towards
 * the theme's text colour until WCAG's contrast is met, so a quiet theme stays readable.
 */

import { legible, luminance, mix, multiply, parseHex, sampleRamp, toHex } from "../core/color.js";

/** Steps of brightness that text is tinted in; classes p0 .. p15 in style.css. */
export const SHADES = 16;
/** Model tints; classes m0 .. m7. */
export const TINTS = 8;

/** The first shades, of what the model held to be unlikely, stand out on a wash of their colour. */
const WASHED = 4;
const WASH = 0.42;

const TEXT_CONTRAST = 4.5;
const MARK_CONTRAST = 3;

/** What is shown until the first Hello: the shipped theme Aurora. */
export const FIRST_THEME = Object.freeze({
  name: "aurora",
  title: "Aurora",
  background: "#04060f",
  text: "#dfe7f5",
  muted: "#6b7a99",
  accent: "#5ad1c8",
  ramp: ["#04060f", "#0b1a3a", "#123a6b", "#1a6f8f", "#2fb59a", "#9be8a0", "#f6ffd8"],
  tints: ["#ffffff", "#9be8ff", "#ffb59b", "#c7a8ff"],
});

/**
 * Put a theme on the page.
 *
 * @param {object} theme         as on the wire
 * @param {HTMLElement} root     gets the variables
 * @returns {{rampPixels: Uint8Array, tints: Float32Array, background: number[], dark: boolean,
 *   css: {background: string, text: string, muted: string, accent: string}}} for the map
 */
export function applyTheme(theme, root) {
  const background = parseHex(theme.background);
  const text = parseHex(theme.text);
  const ramp = theme.ramp.map(parseHex);
  const dark = luminance(background) < luminance(text);
  const readable = (color) => toHex(legible(color, raised(background, dark), text, TEXT_CONTRAST));
  const css = {
    background: theme.background,
    text: theme.text,
    muted: readable(parseHex(theme.muted)),
    accent: readable(parseHex(theme.accent)),
  };
  for (const [name, value] of Object.entries(css)) root.style.setProperty(`--${name}`, value);
  root.style.setProperty("--scheme", dark ? "dark" : "light");
  root.style.setProperty("--raised", toHex(raised(background, dark)));
  root.style.setProperty("--failure", readable(dark ? [255, 118, 118] : [176, 24, 24]));
  root.style.setProperty("--warning", readable(dark ? [255, 200, 110] : [138, 84, 0]));
  root.style.setProperty("--ramp", rampGradient(ramp));
  setShades(root, ramp, raised(background, dark), text);
  const tints = modelTints(theme.tints.map(parseHex), ramp, background, text, root);
  return { rampPixels: rampPixels(ramp), tints, background, dark, css };
}

function setShades(root, ramp, ground, text) {
  for (let shade = 0; shade < SHADES; shade++) {
    // The ramp's first third is nearly the background: text begins beyond it.
    const color = sampleRamp(ramp, 0.38 + (0.6 * shade) / (SHADES - 1));
    const wash = mix(ground, color, shade < WASHED ? WASH : 0);
    root.style.setProperty(`--p${shade}`, toHex(legible(color, wash, text, TEXT_CONTRAST)));
    if (shade < WASHED) root.style.setProperty(`--wash${shade}`, toHex(wash));
  }
}

function modelTints(tints, ramp, background, text, root) {
  const floats = new Float32Array(TINTS * 3);
  for (let model = 0; model < TINTS; model++) {
    const tint = tints[model % tints.length];
    floats.set(tint.map((part) => part / 255), model * 3);
    const dot = legible(multiply(sampleRamp(ramp, 0.72), tint), background, text, MARK_CONTRAST);
    root.style.setProperty(`--m${model}`, toHex(dot));
  }
  return floats;
}

function rampGradient(ramp) {
  return `linear-gradient(90deg, ${ramp.map(toHex).join(", ")})`;
}

function rampPixels(ramp) {
  const pixels = new Uint8Array(256 * 4);
  for (let i = 0; i < 256; i++) pixels.set([...sampleRamp(ramp, i / 255), 255], i * 4);
  return pixels;
}

/** The panel's colour over the background: the harder case for contrast. */
function raised(background, dark) {
  return mix(background, dark ? [120, 150, 210] : [255, 255, 255], dark ? 0.08 : 0.45);
}
