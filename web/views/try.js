// The flow in steps, each with its requests and frames beside it.

import { h } from "../kernel/dom.js";
import { visit } from "../kernel/room.js";
import { flow, about, watch, changed, subject, left, subscribe, takeToken, bind, unbind, ping, renew, drop, leave } from "./try/flow.js";
import { subscribeStep, button } from "./try/subscribe.js";
import { tokenStep, bindStep, receiveStep, codeStep, clock } from "./try/steps.js";

export function mount(root, path, query) {
  const existing = query.get("subscription");
  if (existing) {
    about(() => Object.assign(flow.draft, { mode: "existing", existing }));
    visit("/try"); // so that a reload keeps what was chosen later
  }

  const form = subscribeStep(run);
  const receive = receiveStep(run);
  const steps = [
    ["Subscribe", "A Subscription names a topic, filters its events, and sets how much a notification contains.", form, () => flow.resource && [`${flow.resource.id}, ${flow.resource.status}`, flow.resource.status === "active"]],
    ["Take a token", "A socket has no login. A client binds it with a token, which it gets over HTTP and which expires.", tokenStep(run), () => flow.token && [left() > 0 ? `${clock(left())} left` : "expired", left() > 0]],
    ["Bind a socket", "This page opens a WebSocket and sends the token. The server responds with a handshake, which has the number of events so far.", bindStep(run), () => (flow.bound ? ["bound", true] : flow.ended && ["closed", false])],
    ["Receive", "Event numbers have no gaps. Missed events are fetched with $events.", receive, () => flow.count > 0 && [`${flow.count} received, last #${flow.last}`, true]],
    ["Take the code", "A complete client for this subscription. It renews its token, detects a dead connection, reconnects, and fetches missed events.", codeStep(), () => null],
  ].map(([title, lede, part, result], i) => {
    const error = h("p.error", { role: "alert" });
    const outcome = h("span.result");
    const element = h(part.right ? "li.step" : "li.step.wide", null,
      h("section.do", { "aria-labelledby": `step-${i}` }, h("header", null, h("h2", { id: `step-${i}` }, title), outcome, h("p.hint", null, lede)), part.left, error),
      part.right && h("div.wire", null, part.right));
    return { part, result, error, outcome, element };
  });
  const doing = {
    subscribe: [0, subscribe], token: [1, takeToken], bind: [2, bind], renew: [2, renew], ping: [2, ping], unbind: [2, unbind], drop: [2, drop], leave: [2, () => leave()],
    fire: [3, receive.fire], write: [3, receive.write],
  };

  const said = h("p.label", { role: "status" });
  const lost = h("p", { role: "alert" });
  const gone = h("div.gone", null, lost, button("Do all of it again", doAll));
  const all = button("Do all of it", doAll, { class: "primary" });
  root.append(
    h("div.head", null,
      h("div", null, h("h1", null, "Subscribe, bind, receive"), h("p.lede", null, "This page acts as a client. Go step by step, or do all of it and fire an event.")),
      h("div.actions", null, all)),
    said, gone, h("ol.steps", null, steps.map((s) => s.element)));

  /** run performs an action and shows a refusal beside its step. It reports whether the action succeeded. */
  async function run(what) {
    const [at, act] = doing[what];
    const { error } = steps[at];
    error.textContent = "";
    if (at === 0) form.refuse();
    try {
      await act();
      return true;
    } catch (problem) {
      error.textContent = (at === 0 && problem.issues?.length ? form.refuse(problem.issues) : [problem.message]).join("\n");
      if (error.textContent) steps[at].element.scrollIntoView({ block: "nearest" });
      return false;
    } finally {
      changed();
    }
  }

  async function doAll() {
    all.disabled = flow.busy = true; // at once, not with the next frame
    for (const { error } of steps) error.textContent = "";
    leave();
    const done = (flow.draft.mode === "existing" || await run("subscribe")) && await run("token") && await run("bind");
    flow.busy = false;
    changed();
    if (!done) return;
    said.textContent = "Bound. Fire an event.";
    receive.button.disabled = false;
    steps[3].element.scrollIntoView();
    receive.button.focus({ preventScroll: true });
  }

  function update() {
    all.disabled = flow.busy || !form.loaded();
    gone.hidden = !flow.gone;
    if (lost.textContent !== flow.gone) lost.textContent = flow.gone;
    for (const { part, result, outcome, element } of steps) {
      part.update();
      const [text, good] = result() || [""];
      outcome.textContent = text;
      element.dataset.tone = !text ? "" : good ? "good" : "bad";
    }
  }
  watch(update);
  update();
  const tick = setInterval(update, 1000); // remaining times change
  return () => {
    watch(() => {});
    form.end();
    clearInterval(tick);
  };
}
