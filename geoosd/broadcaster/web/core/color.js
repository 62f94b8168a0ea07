/**
 * Colours of a theme: sampling its ramp, and contrast by WCAG 2.2 (relative luminance, 1.4.3).
 *
 * Pure. A colour is [red, green, blue], each 0..255 in sRGB; text form is `#rrggbb`.
 */

/** @param {string} hex `#rrggbb` */
export function parseHex(hex) {
  const value = Number.parseInt(hex.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

export function toHex(color) {
  const byte = (part) => Math.round(part).toString(16).padStart(2, "0");
  return `#${color.map(byte).join("")}`;
}

/** The colour a *share* (0..1) of the way from *a* to *b*. */
export function mix(a, b, share) {
  return a.map((part, i) => part + (b[i] - part) * share);
}

/** *a* seen through a filter of colour *b*. */
export function multiply(a, b) {
  return a.map((part, i) => (part * b[i]) / 255);
}

/** The ramp's colour at 0..1; its stops lie in even steps. */
export function sampleRamp(stops, at) {
  const place = Math.min(1, Math.max(0, at)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  return mix(stops[low], stops[low + 1], place - low);
}

export function luminance(color) {
  const [red, green, blue] = color.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

/** WCAG contrast ratio, 1..21. */
export function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
}

/** *color*, moved towards *anchor* only as far as it needs to be legible on *background*. */
export function legible(color, background, anchor, ratio) {
  for (let share = 0; share < 1; share += 0.05) {
    const candidate = mix(color, anchor, share);
    if (contrast(candidate, background) >= ratio) return candidate;
  }
  return anchor;
}
