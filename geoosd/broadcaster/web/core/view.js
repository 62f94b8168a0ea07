/**
 * The camera over the map: what part of the world is on screen, and how it moves there.
 *
 * Pure; pixels are CSS pixels, world units are districts, y grows downwards in both. The camera
 * follows its target with an exponential ease, scale in logarithm, so that far and near jumps
 * feel alike.
 */

const CELL = 1 / 1024;
const MIN_SPAN = 40 * CELL;
const MAX_SCALE = 96 / CELL;
const MIN_SCALE = 24;
const EASE_PER_SECOND = 4.5;

export class View {
  constructor() {
    this.width = 1;
    this.height = 1;
    /** Pixels at each side that something else covers; a fit leaves them free. */
    this.insets = { top: 0, right: 0, bottom: 0, left: 0 };
    this.x = 0.5;
    this.y = 0.5;
    this.scale = 400;
    this.target = { x: 0.5, y: 0.5, scale: 400 };
  }

  resize(width, height, insets) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.insets = insets;
  }

  /**
   * Aim at a box so that it fills the free part of the screen.
   *
   * @param {{left: number, top: number, right: number, bottom: number}} box  world units
   */
  fit(box) {
    const { top, right, bottom, left } = this.insets;
    const freeWidth = Math.max(80, this.width - left - right);
    const freeHeight = Math.max(80, this.height - top - bottom);
    const spanX = Math.max(MIN_SPAN, box.right - box.left);
    const spanY = Math.max(MIN_SPAN, box.bottom - box.top);
    const scale = clampScale(0.9 * Math.min(freeWidth / spanX, freeHeight / spanY));
    this.target = {
      x: (box.left + box.right) / 2 + (right - left) / 2 / scale,
      y: (box.top + box.bottom) / 2 + (bottom - top) / 2 / scale,
      scale,
    };
  }

  /** Move by pixels, at once: the map sticks to the finger. */
  panBy(dx, dy) {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
    this.target = { x: this.x, y: this.y, scale: this.scale };
  }

  /** Zoom the target by *factor* around the screen point (px, py), which stays where it is. */
  zoomAt(factor, px, py) {
    const scale = clampScale(this.target.scale * factor);
    const offsetX = px - this.width / 2;
    const offsetY = py - this.height / 2;
    const worldX = this.target.x + offsetX / this.target.scale;
    const worldY = this.target.y + offsetY / this.target.scale;
    this.target = { x: worldX - offsetX / scale, y: worldY - offsetY / scale, scale };
  }

  jump() {
    ({ x: this.x, y: this.y, scale: this.scale } = this.target);
  }

  /** Ease towards the target for *seconds*; true while it still moves visibly. */
  step(seconds) {
    const { target } = this;
    const share = 1 - Math.exp(-EASE_PER_SECOND * Math.max(0, seconds));
    const ratio = Math.log(target.scale / this.scale);
    const apart = Math.hypot(target.x - this.x, target.y - this.y) * this.scale;
    if (Math.abs(ratio) < 0.0005 && apart < 0.1) {
      this.jump();
      return false;
    }
    this.x += (target.x - this.x) * share;
    this.y += (target.y - this.y) * share;
    this.scale *= Math.exp(ratio * share);
    return true;
  }

  toScreen(x, y) {
    return {
      x: (x - this.x) * this.scale + this.width / 2,
      y: (y - this.y) * this.scale + this.height / 2,
    };
  }

  toWorld(px, py) {
    return {
      x: this.x + (px - this.width / 2) / this.scale,
      y: this.y + (py - this.height / 2) / this.scale,
    };
  }

  /** The part of the world on screen. */
  bounds() {
    const { x: left, y: top } = this.toWorld(0, 0);
    const { x: right, y: bottom } = this.toWorld(this.width, this.height);
    return { left, top, right, bottom };
  }
}

function clampScale(scale) {
  return Math.min(MAX_SCALE, Math.max(MIN_SCALE, scale));
}
