/**
 * What the map holds: rings of lit tokens and trails, and the memory of cells.
 *
 * Pure; every store is bounded and remembers what changed since it was last uploaded, so that a
 * renderer sends only that. Times are monotonic seconds, places world units.
 */

import { DISTRICT_SIDE } from "./hilbert.js";
import { placeOfCell, placeOfToken, probabilityOf } from "./protocol.js";

export const MAX_LIT = 4096;
export const MAX_TRAILS = 1024;
export const MAX_MEMORY = 16384;

/** Activation of an instance whose token has no known probability. */
export const UNKNOWN = -1;

const LONG_AGO = -1e6;

/** A ring of fixed-size records; overwrites the oldest. */
export class Ring {
  constructor(capacity, stride) {
    this.capacity = capacity;
    this.stride = stride;
    this.data = new Float32Array(capacity * stride);
    this.written = 0;
    this.uploaded = 0;
  }

  get count() {
    return Math.min(this.written, this.capacity);
  }

  push(...values) {
    this.data.set(values, (this.written % this.capacity) * this.stride);
    this.written += 1;
  }

  clear() {
    this.written = 0;
    this.uploaded = 0;
  }

  /** Hand over the changed parts as [first, last) pairs of slots, at most two. */
  takeChanges() {
    const fresh = this.written - this.uploaded;
    this.uploaded = this.written;
    if (fresh === 0) return [];
    if (fresh >= this.capacity) return [[0, this.capacity]];
    const last = this.written % this.capacity;
    const first = (this.written - fresh) % this.capacity;
    if (first < last) return [[first, last]];
    return last === 0 ? [[first, this.capacity]] : [[first, this.capacity], [0, last]];
  }
}

export class Cells {
  #slots;
  #weights;
  #keys;
  #nextSlot;
  #changed;
  #heads;

  constructor() {
    /** x, y, activation (or {@link UNKNOWN}), time lit, model number */
    this.lit = new Ring(MAX_LIT, 5);
    /** x, y from; x, y to; time lit; model number */
    this.trails = new Ring(MAX_TRAILS, 6);
    /** x, y, brightness 0..1, model number */
    this.memory = new Float32Array(MAX_MEMORY * 4);
    this.memoryCount = 0;
    this.tokens = new Array(MAX_LIT).fill(null);
    this.box = null;
    this.#reset();
  }

  #reset() {
    this.#slots = new Map();
    this.#weights = new Float32Array(MAX_MEMORY);
    this.#keys = new Array(MAX_MEMORY).fill(null);
    this.#nextSlot = 0;
    this.#changed = { first: MAX_MEMORY, last: 0 };
    this.#heads = new Map();
  }

  /** Begin anew with the cells of a Snapshot: `[{district, cell, weight, model}]`. */
  reset(cells = []) {
    this.lit.clear();
    this.trails.clear();
    this.tokens.fill(null);
    this.memoryCount = 0;
    this.box = null;
    this.#reset();
    const strongest = cells.reduce((most, { weight }) => Math.max(most, weight), 0);
    for (const { district, cell, weight, model } of cells.slice(0, MAX_MEMORY)) {
      const place = placeOfCell(district, cell);
      this.#remember(keyOf(place), place, model, strongest > 0 ? (3 * weight) / strongest : 0);
    }
  }

  /**
   * Light up a token.
   *
   * @param {object} token   payload of a TokenVisualizationUpdate
   * @param {number} model   its model's number
   * @param {number} now
   * @returns {{x: number, y: number}|null} its place; null when it has none and nothing changed
   */
  light(token, model, now) {
    const place = placeOfToken(token);
    if (place === null) return null;
    const probability = probabilityOf(token);
    this.tokens[this.lit.written % MAX_LIT] = { token, ...place, litAt: now, model };
    this.lit.push(place.x, place.y, probability ?? UNKNOWN, now, model);
    this.#join(token, place, model, now);
    this.#remember(keyOf(place), place, model, 0.5);
    return place;
  }

  /** Remember a token of the past: it can be found again, but it does not shine. */
  recall(token, model) {
    const place = placeOfToken(token);
    if (place === null) return;
    this.tokens[this.lit.written % MAX_LIT] = { token, ...place, litAt: LONG_AGO, model };
    this.lit.push(place.x, place.y, probabilityOf(token) ?? UNKNOWN, LONG_AGO, model);
    this.#remember(keyOf(place), place, model, 0.5);
  }

  /** The newest token within *radius* world units of a point; null where there is none. */
  nearest(x, y, radius) {
    let best = null;
    let bestDistance = radius;
    for (let age = 0; age < this.lit.count; age++) {
      const entry = this.tokens[(this.lit.written - 1 - age) % MAX_LIT];
      const distance = Math.hypot(entry.x - x, entry.y - y);
      // Strictly nearer: of several on one cell the newest wins.
      if (distance < bestDistance) [best, bestDistance] = [entry, distance];
    }
    return best;
  }

  /** The newest tokens first, not older than *maxAge* seconds, at most *limit*. */
  *recent(now, maxAge, limit) {
    for (let age = 0; age < Math.min(limit, this.lit.count); age++) {
      const entry = this.tokens[(this.lit.written - 1 - age) % MAX_LIT];
      if (now - entry.litAt > maxAge) return;
      yield entry;
    }
  }

  /** Changed slots of `memory` as [first, last) or null. */
  takeMemoryChange() {
    const { first, last } = this.#changed;
    this.#changed = { first: MAX_MEMORY, last: 0 };
    return first < last ? [first, last] : null;
  }

  #join(token, place, model, now) {
    const stream = `${token.session ?? ""}\n${token.choice ?? 0}`;
    const head = this.#heads.get(stream);
    if (head && (head.x !== place.x || head.y !== place.y)) {
      this.trails.push(head.x, head.y, place.x, place.y, now, model);
    }
    this.#heads.delete(stream);
    this.#heads.set(stream, place);
    if (this.#heads.size > 256) this.#heads.delete(this.#heads.keys().next().value);
  }

  #remember(key, place, model, weight) {
    const slot = this.#slots.get(key) ?? this.#takeSlot(key);
    this.#weights[slot] += weight;
    // Weights grow without end, brightness does not.
    const brightness = 1 - Math.exp(-this.#weights[slot] / 3);
    this.memory.set([place.x, place.y, brightness, model], slot * 4);
    this.#changed.first = Math.min(this.#changed.first, slot);
    this.#changed.last = Math.max(this.#changed.last, slot + 1);
    this.#grow(place);
  }

  #takeSlot(key) {
    const slot = this.#nextSlot;
    this.#nextSlot = (slot + 1) % MAX_MEMORY;
    if (this.#keys[slot] !== null) this.#slots.delete(this.#keys[slot]);
    this.#keys[slot] = key;
    this.#slots.set(key, slot);
    this.#weights[slot] = 0;
    this.memoryCount = Math.max(this.memoryCount, slot + 1);
    return slot;
  }

  #grow({ x, y }) {
    const half = 0.5 / DISTRICT_SIDE;
    const box = this.box ?? { left: x, top: y, right: x, bottom: y };
    this.box = {
      left: Math.min(box.left, x - half),
      top: Math.min(box.top, y - half),
      right: Math.max(box.right, x + half),
      bottom: Math.max(box.bottom, y + half),
    };
  }
}

function keyOf({ x, y }) {
  return Math.floor(y * DISTRICT_SIDE) * 2 ** 26 + Math.floor(x * DISTRICT_SIDE);
}
