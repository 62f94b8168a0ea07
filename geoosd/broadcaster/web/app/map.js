/**
 * The map: a full-bleed WebGL2 canvas that shows where tokens light up.
 *
 * Data is in core/cells.js, the camera in core/view.js, GLSL in shaders.js, words on the map in
 * labels.js, gestures in gestures.js. Frames are drawn only while something moves or shines.
 */

import { Cells } from "../core/cells.js";
import { curveSegments, districtBorders, visibleDepths } from "../core/curve.js";
import { districtToPlace } from "../core/hilbert.js";
import { decodeCells } from "../core/protocol.js";
import { View } from "../core/view.js";
import { InstancedLayer, LightPlane, makeProgram } from "./gl.js";
import * as shaders from "./shaders.js";

/** Seconds in which a token's light falls to 1/e. */
const TAU = 3;
const TRAIL_TAU = 2.4;
/** After so many seconds without news nothing shines any more. */
const DARK_AFTER = TAU * 4.5;
const TRAIL_STEPS = 28;
/** How much brighter the curve is while no cell is in use. */
const EMPHASIS = 2.2;
const MAX_PIXEL_RATIO = 2;
const QUAD = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]);

export class TokenMap {
  #frame = null;
  #lastTime = 0;
  #lastLight = -Infinity;
  #emphasis = EMPHASIS;
  #segments = new Map();
  #theme = null;
  #gl = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{labels: {draw: Function}, reducedMotion: () => boolean}} parts
   */
  constructor(canvas, { labels, reducedMotion }) {
    this.canvas = canvas;
    this.labels = labels;
    this.reducedMotion = reducedMotion;
    this.view = new View();
    this.cells = new Cells();
    /** Districts in use; before any is known, the place of the first is shown. */
    this.districts = new Set();
    /** True while the view follows the cells in use; a gesture of the user ends it. */
    this.following = true;
    this.marked = null;
    this.#start();
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.#gl = null;
    });
    canvas.addEventListener("webglcontextrestored", () => this.#start());
  }

  /** False where the browser has no WebGL2; words are drawn all the same. */
  get works() {
    return this.#gl !== null;
  }

  setTheme(theme) {
    this.#theme = theme;
    this.#uploadTheme();
    this.redraw();
  }

  /** Tell the size in CSS pixels and what covers the map at its sides. */
  resize(width, height, insets) {
    const ratio = Math.min(MAX_PIXEL_RATIO, globalThis.devicePixelRatio || 1);
    this.pixelRatio = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.labels.resize(width, height, ratio);
    // On a wall the points must not get lost: they grow with the screen.
    this.pointScale = ratio * Math.min(1.8, Math.max(1, Math.min(width, height) / 800));
    const first = this.view.width === 1;
    this.view.resize(width, height, insets);
    if (this.following) this.fit();
    if (first) this.view.jump();
    this.redraw();
  }

  /** Begin anew from a Snapshot; *modelNumber* gives a model's tint. */
  reset(snapshot, modelNumber) {
    const models = new Map();
    this.districts = new Set();
    for (const { index, model } of snapshot.districts ?? []) {
      this.districts.add(index);
      models.set(index, modelNumber(model));
    }
    this.#segments.clear();
    const cells = decodeCells(snapshot.cells).map((cell) => ({
      ...cell,
      model: models.get(cell.district) ?? 0,
    }));
    this.cells.reset(cells);
    for (const token of snapshot.tokens ?? []) this.cells.recall(token, modelNumber(token.model));
    if (this.following) this.fit();
    this.redraw();
  }

  /** Light up a token; null when it has no place. */
  light(token, model, now) {
    const place = this.cells.light(token, model, now);
    if (place === null) return null;
    const district = token.district ?? 0;
    if (!this.districts.has(district)) {
      this.districts.add(district);
      this.#segments.clear();
    }
    this.#lastLight = now;
    if (this.following) this.fit();
    this.redraw();
    return place;
  }

  /** Follow the cells in use from now on. */
  fit() {
    this.following = true;
    this.view.fit(this.cells.box ?? { left: 0, top: 0, right: 1, bottom: 1 });
    if (this.reducedMotion()) this.view.jump();
    this.redraw();
  }

  panBy(dx, dy) {
    this.following = false;
    this.view.panBy(dx, dy);
    this.redraw();
  }

  zoomAt(factor, x, y) {
    this.following = false;
    this.view.zoomAt(factor, x, y);
    if (this.reducedMotion()) this.view.jump();
    this.redraw();
  }

  /** The lit token under a point of the canvas, within *reach* pixels. */
  tokenAt(x, y, reach) {
    const { x: worldX, y: worldY } = this.view.toWorld(x, y);
    return this.cells.nearest(worldX, worldY, reach / this.view.scale);
  }

  /** Put the ring of attention around a place, or take it away with null. */
  mark(place) {
    this.marked = place;
    this.redraw();
  }

  redraw() {
    this.#frame ??= requestAnimationFrame((time) => this.#draw(time / 1000));
  }

  #start() {
    const gl = this.canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false });
    this.#gl = gl;
    if (gl === null) return;
    const program = (name) => makeProgram(gl, shaders[`${name}_VERTEX`], shaders[`${name}_FRAGMENT`]);
    this.programs = {
      token: program("TOKEN"),
      memory: program("MEMORY"),
      trail: program("TRAIL"),
      line: program("LINE"),
      compose: program("COMPOSE"),
    };
    const { lit, trails, memory } = this.cells;
    this.litLayer = new InstancedLayer(gl, QUAD, [2, 1, 1, 1], lit.data);
    this.memoryLayer = new InstancedLayer(gl, QUAD, [2, 1, 1], memory);
    this.trailLayer = new InstancedLayer(gl, ribbon(TRAIL_STEPS), [4, 1, 1], trails.data);
    this.plane = new LightPlane(gl);
    this.rampTexture = gl.createTexture();
    this.#segments.clear();
    this.#uploadTheme();
    this.redraw();
  }

  #uploadTheme() {
    const gl = this.#gl;
    if (gl === null || this.#theme === null) return;
    gl.bindTexture(gl.TEXTURE_2D, this.rampTexture);
    const { rampPixels } = this.#theme;
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, rampPixels);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  #draw(time) {
    this.#frame = null;
    const now = performance.now() / 1000;
    const passed = Math.min(0.25, time - this.#lastTime);
    const settling = this.#settle(passed);
    const moving = this.view.step(passed) || settling;
    this.#lastTime = time;
    if (this.#gl !== null && this.#theme !== null) this.#drawLight(now);
    if (this.#theme !== null) this.labels.draw(this, now);
    if (moving || now - this.#lastLight < DARK_AFTER) this.redraw();
  }

  /** Bring the curve forward while there is nothing else to see; true while it still changes. */
  #settle(seconds) {
    const wanted = this.cells.memoryCount === 0 ? EMPHASIS : 1;
    const apart = wanted - this.#emphasis;
    const still = Math.abs(apart) < 0.01 || this.reducedMotion();
    this.#emphasis = still ? wanted : this.#emphasis + apart * (1 - Math.exp(-2 * seconds));
    return !still;
  }

  #drawLight(now) {
    const gl = this.#gl;
    const { width, height } = this.canvas;
    this.#uploadChanges();
    this.plane.begin(width, height);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    // The brightest wins: what crowds together stays apart instead of melting into a blot.
    gl.blendEquation(gl.MAX);
    this.#drawCurve();
    this.#use(this.programs.memory, now);
    this.memoryLayer.draw(gl.TRIANGLE_STRIP, this.cells.memoryCount);
    if (now - this.#lastLight < DARK_AFTER) {
      gl.blendEquation(gl.FUNC_ADD);
      this.#use(this.programs.trail, now, TRAIL_TAU);
      this.trailLayer.draw(gl.TRIANGLE_STRIP, this.cells.trails.count);
      gl.blendEquation(gl.MAX);
      this.#use(this.programs.token, now, TAU);
      this.litLayer.draw(gl.TRIANGLE_STRIP, this.cells.lit.count);
    }
    gl.disable(gl.BLEND);
    this.#compose(width, height);
  }

  #uploadChanges() {
    const { lit, trails } = this.cells;
    for (const [first, last] of lit.takeChanges()) this.litLayer.upload(first, last);
    for (const [first, last] of trails.takeChanges()) this.trailLayer.upload(first, last);
    const memory = this.cells.takeMemoryChange();
    if (memory) this.memoryLayer.upload(...memory);
  }

  #use({ program, uniforms }, now, tau = 1) {
    const gl = this.#gl;
    const { x, y, scale } = this.view;
    gl.useProgram(program);
    gl.uniform4f(uniforms.view, x, y, scale * this.pixelRatio, 0);
    gl.uniform2f(uniforms.size, this.canvas.width, this.canvas.height);
    gl.uniform1f(uniforms.now ?? null, now);
    gl.uniform1f(uniforms.pixel ?? null, this.pointScale);
    gl.uniform1f(uniforms.tau ?? null, tau);
    gl.uniform1f(uniforms.flash ?? null, this.reducedMotion() ? 0 : 1);
    gl.uniform3fv(uniforms.tints ?? null, this.#theme.tints);
  }

  #drawCurve() {
    const { line } = this.programs;
    this.#use(line, 0);
    const { strength } = line.uniforms;
    for (const { depth, strength: share } of visibleDepths(this.view.scale)) {
      this.#gl.uniform1f(strength, 0.15 * share * this.#emphasis);
      this.#drawLines(this.#curveOf(depth));
    }
    this.#gl.uniform1f(strength, 0.27);
    this.#drawLines(this.#linesOf("borders", () => districtBorders(this.#shown())));
  }

  #shown() {
    return this.districts.size > 0 ? this.districts : [0];
  }

  #curveOf(depth) {
    const seen = this.view.bounds();
    const kept = this.#segments.get(depth);
    if (kept && holds(kept.box, seen)) return kept;
    // Half a screen more on each side, so that panning does not build it anew every frame.
    const marginX = (seen.right - seen.left) / 4;
    const marginY = (seen.bottom - seen.top) / 4;
    const box = {
      left: seen.left - marginX,
      right: seen.right + marginX,
      top: seen.top - marginY,
      bottom: seen.bottom + marginY,
    };
    this.#forget(depth);
    const lines = this.#linesOf(depth, () => curveSegments(this.#shown(), depth, box));
    lines.box = clipToDistricts(box, this.#shown());
    return lines;
  }

  #linesOf(name, make) {
    const kept = this.#segments.get(name);
    if (kept) return kept;
    const gl = this.#gl;
    const points = make();
    const array = gl.createVertexArray();
    const buffer = gl.createBuffer();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, points, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
    const lines = { array, buffer, count: points.length / 3 };
    this.#segments.set(name, lines);
    return lines;
  }

  #forget(name) {
    const kept = this.#segments.get(name);
    if (!kept) return;
    this.#gl.deleteVertexArray(kept.array);
    this.#gl.deleteBuffer(kept.buffer);
    this.#segments.delete(name);
  }

  #drawLines({ array, count }) {
    if (count === 0) return;
    this.#gl.bindVertexArray(array);
    this.#gl.drawArrays(this.#gl.LINES, 0, count);
  }

  #compose(width, height) {
    const gl = this.#gl;
    const { program, uniforms } = this.programs.compose;
    const { background, dark } = this.#theme;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, width, height);
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.rampTexture);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.plane.texture);
    gl.uniform1i(uniforms.light, 0);
    gl.uniform1i(uniforms.ramp, 1);
    gl.uniform3f(uniforms.background, ...background.map((part) => part / 255));
    gl.uniform1f(uniforms.dark, dark ? 1 : 0);
    gl.uniform1f(uniforms.exposure, 1.7);
    gl.bindVertexArray(this.litLayer.array);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}

function ribbon(steps) {
  const points = [];
  for (let i = 0; i <= steps; i++) points.push(i / steps, -1, i / steps, 1);
  return Float32Array.from(points);
}

function holds(box, seen) {
  return (
    (seen.left >= box.left || box.openLeft) &&
    (seen.right <= box.right || box.openRight) &&
    (seen.top >= box.top || box.openTop) &&
    (seen.bottom <= box.bottom || box.openBottom)
  );
}

/** A side beyond every district needs no rebuilding, however far the view goes. */
function clipToDistricts(box, districts) {
  const places = [...districts].map(districtToPlace);
  return {
    ...box,
    openLeft: box.left <= Math.min(...places.map(({ x }) => x)),
    openTop: box.top <= Math.min(...places.map(({ y }) => y)),
    openRight: box.right >= Math.max(...places.map(({ x }) => x + 1)),
    openBottom: box.bottom >= Math.max(...places.map(({ y }) => y + 1)),
  };
}
