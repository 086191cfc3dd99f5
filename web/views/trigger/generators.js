// Generators: scenarios that write realistic resources at a rate.

import { h, fill, field } from "../../kernel/dom.js";
import { request } from "../../kernel/api.js";
import { on, now, refresh } from "../../kernel/stream.js";
import { address } from "../../kernel/room.js";
import { count, ago } from "../../kernel/format.js";

// The slider is logarithmic, from one write a minute to fifty a second.
const slowest = 1 / 60;
const times = 50 / slowest;
const steps = 60;
const stepOf = (rate) => Math.round((Math.log(rate / slowest) / Math.log(times)) * steps);

/** rateAt returns the rate of a step of the slider, rounded, as the server reads it. */
function rateAt(step) {
  const rate = slowest * times ** (step / steps);
  return rate >= 1 ? `${Math.round(rate)}/s` : `${Math.round(rate * 60)}/min`;
}

/** readRate parses a rate of the server. It returns writes per second. */
function readRate(text) {
  const [, n, per, unit] = /^([\d.]+)(\/?)(\w+)$/.exec(text) ?? [];
  const seconds = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600 }[unit];
  return per ? n / seconds : 1 / (n * seconds);
}

const scenarios = {
  "admission-to-discharge": "patients are admitted, get results and tasks, and are discharged",
  "lab-results": "laboratory results of outpatients arrive",
  tasks: "tasks are requested, completed, rejected or left open",
};

export function generatorSection() {
  const problem = h("p.error", { role: "alert" });
  const list = h("ul.generators");
  const rows = new Map();
  const boxes = {
    name: field("Name", h("input", { autocomplete: "off", spellcheck: "false", placeholder: "ward2", required: true }), "The ids of its resources begin with this name."),
    scenario: field("Scenario", h("select")),
  };
  const name = boxes.name.control;
  const scenario = boxes.scenario.control;
  const create = h("button", { type: "submit", disabled: true }, "Add and start"); // until there are scenarios
  const element = h("section.section", { "aria-label": "Generators" },
    h("h2", null, "Generators"), problem, list,
    h("details.more-generators", null, h("summary", null, "Add a generator"),
      h("form.do", { on: { submit: (event) => { event.preventDefault(); add(); } } }, h("div.three", null, boxes.name, boxes.scenario), h("div.actions", null, create))));

  async function ask(method, path, body, refused = (error) => { problem.textContent = error.message; }) {
    problem.textContent = "";
    await request(method, `/mock/generators${path}`, body).catch(refused);
    refresh();
  }

  async function add() {
    Object.values(boxes).forEach((box) => box.refuse());
    const generator = { name: name.value.trim(), scenario: scenario.value, rate: "1/s", patients: 4, running: true };
    name.value = "";
    await ask("POST", "", generator, (error) => {
      name.value ||= generator.name;
      (boxes[error.issues?.[0]?.expression[0]] ?? boxes.name).refuse(error.message);
    });
  }

  /** row returns the row of a generator. Its update(state) shows the present state. */
  function row(generator) {
    const { name } = generator;
    const at = `/${encodeURIComponent(name)}`;
    const button = (kind, label, does) => h(kind, { type: "button", "aria-label": `${label} ${name}`, on: { click: does } }, label);
    const state = h("span.state");
    const run = button("button", "Start", () => ask("POST", `${at}/${run.textContent.toLowerCase()}`));
    run.dataset.run = name;
    const rate = h("output");
    const slider = h("input", { type: "range", max: steps, "aria-label": `Rate of ${name}`, on: { input: slid } });
    // The link stays the same element, so that it keeps the focus.
    const link = h("a.mono");
    const [many, last, failed] = [h("span"), h("span"), h("span.bad")];
    const li = h("li", { data: { generator: name } },
      h("div", null, h("b", null, name), " ", state, h("p.hint", null, scenarios[generator.scenario] ?? generator.scenario)),
      h("div.rate", null, slider, rate),
      h("div.actions", null, run, button("button", "One write", () => ask("POST", `${at}/step`, { count: 1 })), button("button.plain", "Remove", () => ask("DELETE", at))),
      h("p.hint", null, many, link, last, failed));

    function show(text) {
      rate.textContent = text;
      slider.setAttribute("aria-valuetext", text);
    }
    let sending = 0; // the timer of a change to send: the slider moves faster than requests
    function slid() {
      const text = rateAt(slider.value);
      show(text);
      clearTimeout(sending);
      sending = setTimeout(() => { sending = 0; ask("PATCH", at, { rate: text }); }, 150);
    }
    li.update = (g) => {
      state.dataset.state = g.running ? "active" : "";
      state.textContent = g.running ? "running" : "stopped";
      run.textContent = g.running ? "Stop" : "Start";
      run.setAttribute("aria-label", `${run.textContent} ${name}`);
      if (!sending) {
        if (document.activeElement !== slider) slider.value = stepOf(readRate(g.rate));
        show(g.rate);
      }
      many.textContent = g.last ? `${count(g.written)} writes, the last ` : "no write yet";
      link.hidden = !g.last;
      if (g.last) {
        link.href = address(`/resources/${g.last.reference}`);
        link.textContent = g.last.reference;
        last.textContent = `, ${g.last.note}, ${ago(now() - new Date(g.last.at))}`;
      }
      failed.textContent = g.lastError ? ` ${count(g.refused)} refused: ${g.lastError}` : "";
    };
    return li;
  }

  const end = on("state", (state) => {
    if (scenario.options.length !== state.scenarios.length) fill(scenario, state.scenarios.map((s) => new Option(s)));
    create.disabled = !state.scenarios.length;
    for (const g of state.generators) {
      if (!rows.has(g.name)) {
        rows.set(g.name, row(g));
        list.append(rows.get(g.name));
      }
      rows.get(g.name).update(g);
    }
    for (const [name, li] of rows) {
      if (state.generators.some((g) => g.name === name)) continue;
      const next = li.contains(document.activeElement) && (li.nextElementSibling ?? list.nextElementSibling);
      li.remove();
      rows.delete(name);
      if (next) next.querySelector("button, summary").focus();
    }
  });
  return { element, end };
}
