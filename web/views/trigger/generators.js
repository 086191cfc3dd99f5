// Generators: scenarios that write realistic resources at a rate.

import { h, fill, field } from "../../kernel/dom.js";
import { request } from "../../kernel/api.js";
import { on, refresh } from "../../kernel/stream.js";
import { count, ago } from "../../kernel/format.js";

// The slider is logarithmic, from one write a minute to fifty a second.
const slowest = 1 / 60;
const fastest = 50;
const steps = 60;
const perSecond = (step) => slowest * (fastest / slowest) ** (step / steps);
const stepOf = (rate) => Math.round((Math.log(Math.min(Math.max(rate, slowest), fastest) / slowest) / Math.log(fastest / slowest)) * steps);

/** rateText writes a rate as the server reads it, in round numbers. */
function rateText(rate) {
  if (rate >= 1) return `${Math.round(rate)}/s`;
  return `${Math.max(1, Math.round(rate * 60))}/min`;
}

/** readRate reads a rate as the server writes it, as writes a second. */
function readRate(text) {
  const many = /^([\d.]+)\/(s|min|h)$/.exec(text);
  if (many) return Number(many[1]) / { s: 1, min: 60, h: 3600 }[many[2]];
  const between = /^([\d.]+)(ms|s|m)$/.exec(text);
  return between ? 1 / (Number(between[1]) * { ms: 0.001, s: 1, m: 60 }[between[2]]) : slowest;
}

const scenarios = {
  "admission-to-discharge": "patients are admitted, get results and tasks, and are discharged",
  "lab-results": "laboratory results of outpatients arrive",
  tasks: "work is requested, done, rejected or left",
};

const at = (name) => `/mock/generators/${encodeURIComponent(name)}`;

export function generatorSection() {
  const problem = h("p.error", { role: "alert" });
  const list = h("ul.generators");
  const rows = new Map();
  const name = h("input", { autocomplete: "off", spellcheck: "false", placeholder: "ward2", required: true });
  const scenario = h("select");
  const boxes = { name: field("Name", name, "Its resources have ids that begin with it."), scenario: field("Scenario", scenario) };
  const element = h("section.section", { "aria-label": "Generators" },
    h("h2", null, "Generators"), problem, list,
    h("details.more-generators", null, h("summary", null, "Add a generator"),
      h("form.do", { on: { submit: (event) => { event.preventDefault(); add(); } } }, h("div.three", null, boxes.name, boxes.scenario), h("div.actions", null, h("button", { type: "submit" }, "Add and start")))));

  async function ask(method, path, body) {
    problem.textContent = "";
    try {
      await request(method, path, body);
    } catch (error) {
      problem.textContent = error.message;
    }
    refresh();
  }

  async function add() {
    Object.values(boxes).forEach((box) => box.refuse());
    try {
      await request("POST", "/mock/generators", { name: name.value.trim(), scenario: scenario.value, rate: "1/s", patients: 4, running: true });
      name.value = "";
    } catch (error) {
      const issue = error.issues?.[0];
      (boxes[issue?.expression[0]] ?? boxes.name).refuse(error.message);
    }
    refresh();
  }

  /** row is one generator; update(state) shows what became of it. */
  function row(generator) {
    const { name } = generator;
    const state = h("span.state");
    const running = h("button", { type: "button", data: { run: name } });
    running.addEventListener("click", () => ask("POST", `${at(name)}/${running.dataset.does}`));
    const rate = h("output");
    const slider = h("input", { type: "range", min: 0, max: steps, step: 1, "aria-label": `Rate of ${name}` });
    let sending; // a change that still has to be sent: the slider moves faster than requests
    slider.addEventListener("input", () => {
      rate.textContent = rateText(perSecond(Number(slider.value)));
      slider.setAttribute("aria-valuetext", rate.textContent);
      clearTimeout(sending);
      sending = setTimeout(() => { sending = 0; ask("PATCH", at(name), { rate: rateText(perSecond(Number(slider.value))) }); }, 150);
    });
    const did = h("p.hint");
    const li = h("li", { data: { generator: name } },
      h("div", null, h("b", null, name), " ", state, h("p.hint", null, scenarios[generator.scenario] ?? generator.scenario)),
      h("div.rate", null, slider, rate),
      h("div.actions", null, running,
        h("button", { type: "button", on: { click: () => ask("POST", `${at(name)}/step`, { count: 1 }) } }, "One write"),
        h("button.plain", { type: "button", "aria-label": `Remove ${name}`, on: { click: () => ask("DELETE", at(name)) } }, "Remove")),
      did);
    li.update = (g) => {
      state.dataset.state = g.running ? "active" : "";
      state.textContent = g.running ? "running" : "stopped";
      running.dataset.does = g.running ? "stop" : "start";
      running.textContent = g.running ? "Stop" : "Start";
      if (!sending && document.activeElement !== slider) slider.value = stepOf(readRate(g.rate));
      if (!sending) {
        rate.textContent = g.rate;
        slider.setAttribute("aria-valuetext", g.rate);
      }
      fill(did, g.lastError ? h("span.bad", null, g.lastError) : g.last
        ? [`${count(g.written)} writes, the last `, h("a.mono", { href: `/resources/${g.last.reference}` }, g.last.reference), `, ${g.last.note}, ${ago(Date.now() - new Date(g.last.at))}`]
        : "no write yet");
    };
    return li;
  }

  const end = on("state", (state) => {
    if (scenario.options.length !== state.scenarios.length) fill(scenario, state.scenarios.map((s) => new Option(s, s)));
    for (const g of state.generators) {
      if (!rows.has(g.name)) {
        rows.set(g.name, row(g));
        list.append(rows.get(g.name));
      }
      rows.get(g.name).update(g);
    }
    for (const [name, li] of rows) {
      if (state.generators.some((g) => g.name === name)) continue;
      li.remove();
      rows.delete(name);
    }
  });
  return { element, end };
}
