/**
 * The visible part of the Hilbert curve as line segments, at the depth that suits the zoom.
 *
 * Pure. Only even depths are drawn: the curve of an even depth is the district's own curve seen
 * from farther away, an odd one would lie transposed.
 */

import { d2xy, districtToPlace, xy2d } from "./hilbert.js";

const DEPTHS = [2, 4, 6, 8, 10];
const FAINT_BELOW = 7;
const MAX_SEGMENTS = 24000;

/**
 * How strongly a depth shows when its cells are *spacing* CSS pixels wide, 0..1: fine lines fade
 * in as one comes closer, coarse ones fade out when they have become frames of the picture.
 */
export function depthStrength(spacing) {
  return smoothstep(FAINT_BELOW, 22, spacing) * (1 - smoothstep(40, 130, spacing));
}

/** Depths worth drawing at *scale* CSS pixels per district: `[{depth, strength}]`. */
export function visibleDepths(scale) {
  return DEPTHS.map((depth) => ({ depth, strength: depthStrength(scale / 2 ** depth) })).filter(
    ({ strength }) => strength > 0.01,
  );
}

/**
 * Segments of one depth that begin inside a box.
 *
 * @param {Iterable<number>} districts  their indices
 * @param {number} depth                even, 2..10
 * @param {{left: number, top: number, right: number, bottom: number}} box  world units
 * @returns {Float32Array} x, y and the share of the curve's length, of both ends, one segment after
 *   the other
 */
export function curveSegments(districts, depth, box) {
  const points = [];
  for (const district of districts) addDistrict(points, districtToPlace(district), depth, box);
  return Float32Array.from(points);
}

/** Borders of the districts, as segments like {@link curveSegments}; no part of the curve: 0. */
export function districtBorders(districts) {
  const points = [];
  for (const district of districts) {
    const { x, y } = districtToPlace(district);
    const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
    corners.forEach((corner, i) => points.push(...corner, 0, ...corners[(i + 1) % 4], 0));
  }
  return Float32Array.from(points);
}

function addDistrict(points, corner, depth, box) {
  const side = 2 ** depth;
  const clampCell = (value) => Math.min(side, Math.max(0, value));
  const left = clampCell(Math.floor((box.left - corner.x) * side));
  const right = clampCell(Math.ceil((box.right - corner.x) * side));
  const top = clampCell(Math.floor((box.top - corner.y) * side));
  const bottom = clampCell(Math.ceil((box.bottom - corner.y) * side));
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      if (points.length >= MAX_SEGMENTS * 6) return;
      const index = xy2d(column, row, depth);
      if (index + 1 >= side * side) continue;
      const next = d2xy(index + 1, depth);
      points.push(
        corner.x + (column + 0.5) / side,
        corner.y + (row + 0.5) / side,
        index / (side * side),
        corner.x + (next.x + 0.5) / side,
        corner.y + (next.y + 0.5) / side,
        (index + 1) / (side * side),
      );
    }
  }
}

function smoothstep(low, high, value) {
  const share = Math.min(1, Math.max(0, (value - low) / (high - low)));
  return share * share * (3 - 2 * share);
}
