// A viewer in node with geoos's client library: node_viewer.mjs LIBRARY URL [WS]
//
// WS is the path of the package `ws`; without it node's own WebSocket is used. Each line on standard
// input is answered with what was seen until then; the end of it is the end.

import { createInterface } from "node:readline";

const [library, url, ws] = process.argv.slice(2);
const { Connection } = await import(library);
const WebSocket = ws ? (await import(ws)).default : globalThis.WebSocket;
const seen = { text: "", last: 0, outOfOrder: 0, gaps: 0, snapshots: 0, hellos: 0, states: [] };

const connection = new Connection(url, {
  tick: 33,
  onHello: () => (seen.hellos += 1),
  onSnapshot: () => (seen.snapshots += 1),
  onGap: () => (seen.gaps += 1),
  onState: ({ state }) => seen.states.push(state),
  onMessage: ({ type, seq, payload }) => {
    if (type === "TokenVisualizationUpdate") seen.text += payload.current_token;
    seen.outOfOrder += seq !== null && seq <= seen.last ? 1 : 0;
    seen.last = seq ?? seen.last;
  },
}, { WebSocket });
connection.open();

for await (const _line of createInterface({ input: process.stdin })) console.log(JSON.stringify(seen));
connection.close();
