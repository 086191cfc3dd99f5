// The client that guide.test.mjs tests: it shows each event of a subscription once, and
// comes back when its socket closes.
import WebSocket from "ws";

export function connect(base, subscription) {
  const shown = []; // events that nobody has taken
  const waiting = []; // those who wait for one
  let last = 0;
  let socket;
  let closed = false;

  async function open() {
    if (closed) return;
    const response = await fetch(`${base}/Subscription/${subscription}/$get-ws-binding-token`, { method: "POST" });
    const { parameter } = await response.json();
    const value = (name) => parameter.find((p) => p.name === name);
    if (closed) return;
    socket = new WebSocket(value("websocket-url").valueUrl);
    socket.on("open", () => socket.send(`bind-with-token ${value("token").valueString}`));
    socket.on("message", (data) => {
      for (const event of JSON.parse(data).entry[0].resource.notificationEvent ?? []) {
        const number = Number(event.eventNumber);
        if (number <= last) continue;
        last = number;
        const wake = waiting.shift();
        if (wake) wake(number);
        else shown.push(number);
      }
    });
    socket.on("error", () => {}); // "close" follows
    socket.on("close", start);
  }
  function start() {
    open().catch(() => setTimeout(start, 100)); // the server may be away
  }
  start();
  return {
    next: () => (shown.length ? Promise.resolve(shown.shift()) : new Promise((resolve) => waiting.push(resolve))),
    close() {
      closed = true;
      socket?.close();
    },
  };
}
