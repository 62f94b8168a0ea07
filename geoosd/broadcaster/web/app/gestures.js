/**
 * Mouse, wheel, touch and keyboard on the map; what they mean is in map.js.
 */

const PAN_STEP = 90;
const ZOOM_STEP = 1.5;
const HOVER_REACH = 14;
const TAP_REACH = 26;
const TAP_TRAVEL = 6;

/**
 * @param {import("./map.js").TokenMap} map
 * @param {(entry: object|null, event: PointerEvent|null) => void} onInspect  token under the
 *   pointer, or null
 */
export function listen(map, onInspect) {
  const { canvas } = map;
  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  let travel = 0;

  const inspect = (event, reach) => onInspect(map.tokenAt(event.clientX, event.clientY, reach), event);

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    travel = 0;
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) {
      inspect(event, HOVER_REACH);
      return;
    }
    const here = { x: event.clientX, y: event.clientY };
    travel += Math.hypot(here.x - before.x, here.y - before.y);
    if (pointers.size === 2) pinch(map, pointers, event.pointerId, here);
    else if (travel > TAP_TRAVEL) map.panBy(here.x - before.x, here.y - before.y);
    pointers.set(event.pointerId, here);
    if (travel > TAP_TRAVEL) onInspect(null, null);
  });

  canvas.addEventListener("pointerup", (event) => {
    pointers.delete(event.pointerId);
    if (travel <= TAP_TRAVEL) inspect(event, TAP_REACH);
  });
  canvas.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => onInspect(null, null));
  canvas.addEventListener("dblclick", () => map.fit());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 30 : 1;
    map.zoomAt(Math.exp(-event.deltaY * lines * 0.0022), event.clientX, event.clientY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = KEYS[event.key];
    if (!act) return;
    event.preventDefault();
    act(map);
  });
}

/** Zoom around the middle of what is free of the panel. */
export function zoomMiddle(map, factor) {
  const { width, height, insets } = map.view;
  map.zoomAt(factor, (width - insets.right + insets.left) / 2, (height - insets.bottom) / 2);
}

const KEYS = {
  ArrowLeft: (map) => map.panBy(PAN_STEP, 0),
  ArrowRight: (map) => map.panBy(-PAN_STEP, 0),
  ArrowUp: (map) => map.panBy(0, PAN_STEP),
  ArrowDown: (map) => map.panBy(0, -PAN_STEP),
  "+": (map) => zoomMiddle(map, ZOOM_STEP),
  "=": (map) => zoomMiddle(map, ZOOM_STEP),
  "-": (map) => zoomMiddle(map, 1 / ZOOM_STEP),
};

function pinch(map, pointers, moved, here) {
  const [other] = [...pointers].filter(([id]) => id !== moved).map(([, point]) => point);
  const before = pointers.get(moved);
  const wide = Math.hypot(before.x - other.x, before.y - other.y);
  const wider = Math.hypot(here.x - other.x, here.y - other.y);
  map.panBy((here.x - before.x) / 2, (here.y - before.y) / 2);
  if (wide > 4 && wider > 4) {
    map.zoomAt(wider / wide, (here.x + other.x) / 2, (here.y + other.y) / 2);
    map.view.jump();
  }
}
