/**
 * The messages of `ws://HOST:8765/neural` as plain objects: parsing, places, packed fields.
 *
 * Pure: no DOM, no network, no clock. The format is described in docs/interfaces.md
 * ("Messages", "Places", "WebSocket") and defined by geoosd/wire/messages.py; the connection
 * that carries it is in connection.js, the curve that places tokens in hilbert.js.
 */

import { cellToPosition, districtToPlace } from "./hilbert.js";

/** The protocol version that this client speaks; `Hello.version` says the server's. */
export const PROTOCOL_VERSION = 1;

/** Bytes of one record of `Snapshot.cells`: u32 district, u32 cell, f32 weight. */
export const CELL_RECORD_BYTES = 12;

/** What pictures show, by their number in the header. */
export const VIEWS = ["activation", "memory", "confidence", "models", "attention", "layers"];
/** Bytes before the image data in a binary (picture) frame. */
export const PICTURE_HEADER_BYTES = 16;

/**
 * @typedef {object} Message
 * @property {string} type       the envelope's `message_type`
 * @property {number} timestamp  seconds since the epoch, as the source stamped it; never an order
 * @property {number|null} seq   number in the feed; null for Hello, Snapshot, Gap, Error, Canary
 * @property {object} payload
 */

/**
 * Read one text frame.
 *
 * @param {string} text
 * @returns {Message|null} null when it is no message envelope; unknown types are passed on, so
 *   that an older client ignores what it does not know.
 */
export function parseMessage(text) {
  let envelope;
  try {
    envelope = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(envelope) || typeof envelope.message_type !== "string") return null;
  if (!isObject(envelope.payload)) return null;
  return {
    type: envelope.message_type,
    timestamp: Number.isFinite(envelope.timestamp) ? envelope.timestamp : 0,
    seq: Number.isSafeInteger(envelope.seq) ? envelope.seq : null,
    payload: envelope.payload,
  };
}

/**
 * Read one binary frame.
 *
 * @param {ArrayBuffer} buffer
 * @returns {{kind: number, codec: number, width: number, height: number, view: string|null,
 *   seq: bigint, data: Uint8Array}|null} null when it is too short to hold a header; `view` is null
 *   for one that this library does not know
 */
export function parsePicture(buffer) {
  if (buffer.byteLength < PICTURE_HEADER_BYTES) return null;
  const view = new DataView(buffer);
  return {
    kind: view.getUint8(0),
    codec: view.getUint8(1),
    width: view.getUint16(2, true),
    height: view.getUint16(4, true),
    view: VIEWS[view.getUint16(6, true)] ?? null,
    seq: view.getBigUint64(8, true),
    data: new Uint8Array(buffer, PICTURE_HEADER_BYTES),
  };
}

/**
 * Unpack `Snapshot.cells`.
 *
 * @param {string} base64
 * @returns {{district: number, cell: number, weight: number}[]} strongest first; a torn last
 *   record is left out, text that is not base64 gives an empty list
 */
export function decodeCells(base64) {
  let binary;
  try {
    binary = atob(base64 ?? "");
  } catch {
    return [];
  }
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const cells = [];
  for (let at = 0; at + CELL_RECORD_BYTES <= bytes.length; at += CELL_RECORD_BYTES) {
    const weight = view.getFloat32(at + 8, true);
    if (!Number.isFinite(weight)) continue;
    cells.push({ district: view.getUint32(at, true), cell: view.getUint32(at + 4, true), weight });
  }
  return cells;
}

/**
 * Where a token is in the world; one district is one unit, y grows downwards.
 *
 * @param {object} token  payload of a TokenVisualizationUpdate
 * @returns {{x: number, y: number}|null} null when the compositor gave it no place
 */
export function placeOfToken(token) {
  const position = token.hilbert_position;
  if (!Array.isArray(position) || !position.every(Number.isFinite) || position.length !== 2) {
    return null;
  }
  const district = districtToPlace(token.district ?? 0);
  return { x: district.x + position[0], y: district.y + position[1] };
}

/** Where the centre of a cell is in the world; see {@link placeOfToken}. */
export function placeOfCell(district, cell) {
  const corner = districtToPlace(district);
  const position = cellToPosition(cell);
  return { x: corner.x + position.x, y: corner.y + position.y };
}

/**
 * Where a value comes from: `measured`, `derived`, `assumed`, `absent`, or `unstated` when it is
 * there and nobody said.
 */
export function provenanceOf(payload, field) {
  if (payload[field] === null || payload[field] === undefined) return "absent";
  return payload.provenance?.[field] ?? "unstated";
}

/** The probability of the chosen token in 0..1, or null where none was given. */
export function probabilityOf(token) {
  const value = token.activation;
  return typeof value === "number" && value >= 0 && value <= 1 ? value : null;
}

/**
 * The address of a viewer's connection.
 *
 * @param {string|URL} base  e.g. `ws://127.0.0.1:8765/neural`; its own query is kept
 * @param {{epoch?: string|null, after?: number|null, tick?: number, channels?: string[],
 *   models?: string[], view?: string}} query
 */
export function connectionUrl(base, query = {}) {
  const url = new URL(base);
  if (query.epoch != null && query.after != null) {
    url.searchParams.set("epoch", query.epoch);
    url.searchParams.set("after", String(query.after));
  }
  if (query.tick != null) url.searchParams.set("tick", String(query.tick));
  if (query.channels?.length) url.searchParams.set("channels", query.channels.join(","));
  if (query.models?.length) url.searchParams.set("models", query.models.join(","));
  if (query.view) url.searchParams.set("view", query.view);
  return url.href;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
