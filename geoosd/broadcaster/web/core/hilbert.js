/**
 * The Hilbert curve that places tokens, equal to geoosd/compositor/core/hilbert.py.
 *
 * Classical orientation: x to the right, y down, index 0 at (0, 0). Inside a district the order
 * is 10 (1024 × 1024 cells). Districts lie on an outer curve whose order is always even: growing
 * a Hilbert curve by one order transposes it, by two orders every index keeps its place.
 */

/** Order of the curve inside a district. */
export const DISTRICT_ORDER = 10;

/** Cells along one side of a district. */
export const DISTRICT_SIDE = 1 << DISTRICT_ORDER;

/** Greatest order that 32-bit indices can fill. */
export const MAX_ORDER = 16;

/**
 * Index along the curve to the cell's column and row.
 *
 * @param {number} index  0 .. 4 ** order - 1
 * @param {number} order  1 .. 16
 * @returns {{x: number, y: number}} each 0 .. 2 ** order - 1
 */
export function d2xy(index, order) {
  let x = 0;
  let y = 0;
  let rest = index >>> 0;
  for (let level = 0; level < order; level++) {
    const side = 2 ** level;
    const right = (rest >>> 1) & 1;
    const down = (rest ^ right) & 1;
    if (down === 0) {
      if (right === 1) {
        x = side - 1 - x;
        y = side - 1 - y;
      }
      [x, y] = [y, x];
    }
    x += side * right;
    y += side * down;
    rest >>>= 2;
  }
  return { x, y };
}

/** The inverse of {@link d2xy}: column and row to the index along the curve. */
export function xy2d(x, y, order) {
  let index = 0;
  for (let level = order - 1; level >= 0; level--) {
    const side = 2 ** level;
    const right = (x >>> level) & 1;
    const down = (y >>> level) & 1;
    index = index * 4 + ((3 * right) ^ down);
    x &= side - 1;
    y &= side - 1;
    if (down === 0) {
      if (right === 1) {
        x = side - 1 - x;
        y = side - 1 - y;
      }
      [x, y] = [y, x];
    }
  }
  return index;
}

/**
 * Where a district lies among the districts; the same for every even outer order that holds it.
 *
 * @param {number} district  index, 0 .. 2 ** 32 - 1
 * @returns {{x: number, y: number}} column and row, in districts
 */
export function districtToPlace(district) {
  return d2xy(district, outerOrder(district));
}

/** The smallest even order whose curve holds the district of this index. */
export function outerOrder(district) {
  let order = 2;
  while (order < MAX_ORDER && district >= 4 ** order) order += 2;
  return order;
}

/** Centre of a cell relative to its district, each coordinate in [0, 1). */
export function cellToPosition(cell) {
  const { x, y } = d2xy(cell, DISTRICT_ORDER);
  return { x: (x + 0.5) / DISTRICT_SIDE, y: (y + 0.5) / DISTRICT_SIDE };
}
