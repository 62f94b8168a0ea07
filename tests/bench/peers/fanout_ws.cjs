// A peer: ws on Node.js. Usage: node fanout_ws.cjs VIEWERS RATE BATCH SIZE [shared]
// (NODE_PATH finds ws). As its documentation shows for broadcasts: send() to each. With `shared` the
// frame is made once and written past ws to every socket, the most that Node can do.
const { Sender, WebSocketServer } = require("ws");

const [viewers, rate, batch, size] = process.argv.slice(2, 6).map(Number);
const shared = process.argv[6] === "shared";
const payload = Buffer.alloc(size, "x");
const options = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true };
const connections = new Set();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  backlog: 1024,
  perMessageDeflate: false,
});
server.on("listening", () => console.log(server.address().port));
server.on("connection", (connection, request) => {
  request.socket.setNoDelay(true);
  connections.add(connection);
  connection.on("close", () => connections.delete(connection));
  connection.on("error", () => {});
  if (connections.size === viewers) publish(performance.now());
});

function publish(due) {
  for (let count = 0; count < batch; count++) {
    if (shared) {
      const frame = Buffer.concat(Sender.frame(payload, options));
      for (const connection of connections) connection._socket.write(frame);
    } else {
      for (const connection of connections) connection.send(payload, { binary: false });
    }
  }
  const next = Math.max(due + (batch / rate) * 1000, performance.now() - 250);
  setTimeout(publish, Math.max(0, next - performance.now()), next);
}
