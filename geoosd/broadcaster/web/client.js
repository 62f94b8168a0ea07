/**
 * geoos's client library: everything that a page or a script of one's own needs, at one address.
 *
 *     import { Connection } from "http://127.0.0.1:8765/client.js";
 *
 * docs/client.md says how it is used. What is exported here stays; the files behind it may move.
 */

export { CLOSE, Connection } from "./core/connection.js";
export {
  PROTOCOL_VERSION,
  decodeCells,
  parseMessage,
  parsePicture,
  placeOfCell,
  placeOfToken,
  probabilityOf,
  provenanceOf,
} from "./core/protocol.js";
