/**
 * Words on the map: the text of the tokens lit last, the names of the districts, the ring of
 * attention; a 2D canvas over the WebGL one.
 *
 * Model output is hostile: it only ever goes through fillText, shortened and on one line.
 */

import { districtToPlace } from "../core/hilbert.js";
import { shortText } from "../core/text.js";

const SHOWN_SECONDS = 5;
const MAX_LABELS = 36;
/** Commas and brackets are tokens, but no words to read on a map. */
const WORDLIKE = /[\p{L}\p{N}\p{Extended_Pictographic}]/u;
const FONT = '500 12.5px ui-sans-serif, system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
const NAME_FONT = '600 11px ui-sans-serif, system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

export class Labels {
  #nameBoxes = [];

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.names = new Map();
    this.theme = null;
  }

  resize(width, height, ratio) {
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  /** Draw over *map* as of *now* (monotonic seconds). */
  draw(map, now) {
    const { context, theme } = this;
    if (theme === null) return;
    context.clearRect(0, 0, map.view.width, map.view.height);
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.strokeStyle = theme.css.background;
    this.#drawNames(map);
    this.#drawTokens(map, now);
    if (map.marked) this.#drawMark(map);
    context.globalAlpha = 1;
  }

  #drawTokens(map, now) {
    const { context, theme } = this;
    const taken = [...this.#nameBoxes];
    const names = taken.length;
    const named = new Set();
    context.font = FONT;
    context.lineWidth = 3.5;
    for (const entry of map.cells.recent(now, SHOWN_SECONDS, 256)) {
      if (taken.length - names >= MAX_LABELS) return;
      const text = shortText(entry.token.current_token, 22);
      if (!WORDLIKE.test(text)) continue;
      // Newest first: a word that came again is written once.
      const cell = `${entry.x} ${entry.y}`;
      if (named.has(cell)) continue;
      named.add(cell);
      const at = map.view.toScreen(entry.x, entry.y);
      const width = context.measureText(text).width;
      const box = freeBox(at, width, taken, map.view);
      if (box === null) continue;
      taken.push(box);
      const left = 1 - (now - entry.litAt) / SHOWN_SECONDS;
      context.globalAlpha = Math.min(1, left * 1.6) * 0.95;
      context.strokeText(text, box.left, box.middle);
      context.fillStyle = theme.css.text;
      context.fillText(text, box.left, box.middle);
    }
  }

  #drawNames(map) {
    const { context, theme } = this;
    this.#nameBoxes = [];
    context.font = NAME_FONT;
    context.globalAlpha = 0.9;
    context.fillStyle = theme.css.muted;
    for (const [index, name] of this.names) {
      if (map.view.scale < 90) return;
      const place = districtToPlace(index);
      const at = map.view.toScreen(place.x, place.y);
      const x = Math.max(at.x + 2, map.view.insets.left + 18);
      if (at.y < 60 || x > at.x + map.view.scale - 40) continue;
      const text = this.#fitting(name, at.x + map.view.scale - x - 8);
      const right = x + context.measureText(text).width;
      context.fillText(text, x, at.y - 11);
      this.#nameBoxes.push({ left: x, right, top: at.y - 18, bottom: at.y - 4 });
    }
  }

  /** As much of a name as has room: the next district has a name as well. */
  #fitting(name, room) {
    let text = shortText(name, 48);
    for (let most = text.length; most > 3 && this.context.measureText(text).width > room; most--) {
      text = shortText(name, most);
    }
    return text;
  }

  #drawMark(map) {
    const { context, theme } = this;
    const { x, y } = map.view.toScreen(map.marked.x, map.marked.y);
    const radius = Math.max(11, map.view.scale / 1024 / 1.4);
    context.globalAlpha = 0.95;
    context.strokeStyle = theme.css.accent;
    context.lineWidth = 1.75;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** Right of the point, else left, above, below; null where no room is. */
function freeBox(at, width, taken, view) {
  const candidates = [
    [at.x + 10, at.y],
    [at.x - 10 - width, at.y],
    [at.x - width / 2, at.y - 16],
    [at.x - width / 2, at.y + 16],
  ];
  for (const [left, middle] of candidates) {
    const box = { left, middle, right: left + width, top: middle - 8, bottom: middle + 8 };
    if (onScreen(box, view) && !taken.some((other) => overlap(box, other))) return box;
  }
  return null;
}

function onScreen(box, { width, height, insets }) {
  return (
    box.left > 4 && box.right < width - insets.right - 4 && box.top > 4 && box.bottom < height - 4
  );
}

function overlap(a, b) {
  return a.left < b.right + 6 && b.left < a.right + 6 && a.top < b.bottom + 1 && b.top < a.bottom + 1;
}
