// The flow in the steps a newcomer follows, with the protocol beside each.

import { h, fill } from "../kernel/dom.js";
import { flow, about, watch, changed, subject, valid, subscribe, takeToken, bind, unbind, ping, renew, drop, leave, fire } from "./try/flow.js";
import { subscribeStep } from "./try/subscribe.js";
import { tokenStep, bindStep, receiveStep, codeStep, clock } from "./try/steps.js";

export function mount(root, path, query) {
  if (query.get("subscription")) about(() => Object.assign(flow.draft, { mode: "existing", existing: query.get("subscription") }));
  if (query.get("topic")) about(() => Object.assign(flow.draft, { mode: "new", topic: query.get("topic") }));

  const said = h("p.label", { role: "status" });
  const gone = h("p.gone", { role: "alert", hidden: true });
  const all = h("button.primary", { type: "button", on: { click: () => run("all") } }, "Do all of it");
  const steps = [];
  const step = (title, lede, part, result) => {
    const nr = steps.length + 1;
    const error = h("p.error", { role: "alert" });
    const outcome = h("p.result");
    const section = h(part.right ? "li.step" : "li.step.wide", { "aria-labelledby": `step-${nr}` },
      h("div.do", null, h("header", null, h("h2", { id: `step-${nr}`, tabindex: "-1" }, title), outcome), h("p.hint", null, lede), part.left, error),
      part.right && h("div.wire", null, part.right));
    steps.push({ part, section, error, outcome, result });
    return section;
  };
  const form = subscribeStep(run);
  const receive = receiveStep(run);
  const doing = {
    subscribe: [0, subscribe],
    token: [1, takeToken],
    bind: [2, bind], renew: [2, renew], ping: [2, ping], unbind: [2, unbind], drop: [2, drop], leave: [2, () => leave("closed by the page")],
    fire: [3, fire], write: [3, receive.doWrite],
  };

  root.append(said,
    h("div.head", null,
      h("div", null, h("h1", null, "Subscribe, bind, receive"), h("p.lede", null, "The whole flow of a subscription client, played by this page against the server. Go step by step, or do all of it and fire an event.")),
      h("div.actions", null, all)),
    gone,
    h("ol.steps", null,
      step("Subscribe", "A Subscription says which topic, which of its events, and how much of them.", form, () => flow.resource && [`Subscription/${flow.resource.id}`, flow.resource.status === "active" ? "good" : "bad"]),
      step("Take a token", "A socket has no log-in. It is bound with a token that expires, taken over HTTP.", tokenStep(run), () => flow.token && (valid() ? [`${clock(flow.token.expires - Date.now())} left`, "good"] : ["expired", "bad"])),
      step("Bind a socket", "The page opens a WebSocket and says the token. A handshake with the number of events so far is the answer.", bindStep(run), () => (flow.bound ? ["bound", "good"] : flow.ended && !flow.socket ? ["closed", "bad"] : null)),
      step("Receive", "Events are numbered without holes. What was missed while no socket was bound is fetched with $events.", receive, () => flow.count > 0 && [`${flow.count} ${flow.count === 1 ? "event" : "events"}, last #${flow.last}`, "good"]),
      step("Take the code", "A complete client for this subscription.", codeStep(), () => null)));

  /** run does one thing, or all of them, and shows a refusal where it belongs. */
  async function run(what) {
    const todo = what === "all" ? ["subscribe", "token", "bind"] : [what];
    if (what === "all" && subject() && flow.draft.mode === "existing") todo.shift();
    all.disabled = true;
    for (const name of todo) {
      const [nr, act] = doing[name];
      const { error, section } = steps[nr];
      error.textContent = "";
      if (nr === 0) form.refuse();
      try {
        await act();
      } catch (problem) {
        error.textContent = (nr === 0 && problem.issues?.length ? form.refuse(problem.issues) : [problem.message]).join("\n");
        if (what === "all" && error.textContent) section.scrollIntoView({ block: "start" });
        todo.length = 0;
      }
    }
    all.disabled = false;
    if (what === "all" && todo.length) {
      said.textContent = "Bound. Fire an event.";
      receive.fire.disabled = false;
      steps[3].section.scrollIntoView({ block: "start" });
      receive.fire.focus({ preventScroll: true });
    }
    changed();
  }

  function update() {
    gone.hidden = !flow.gone;
    if (gone.textContent !== flow.gone) gone.textContent = flow.gone;
    for (const { part, section, outcome, result } of steps) {
      part.update();
      const [text, tone] = result() || ["", ""];
      outcome.textContent = text;
      section.dataset.tone = tone;
    }
  }
  update();
  const ends = [watch(update), form.end];
  const tick = setInterval(update, 1000); // times left run down
  return () => {
    ends.forEach((end) => end());
    clearInterval(tick);
  };
}
