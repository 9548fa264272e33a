"use strict";
// Shows the data of the page: one trace at a time, at one of its steps. All text goes through textContent.
(function () {
  const page = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  let trace = null;
  let step = 0;
  let states = [];
  let cells = [];
  let entries = [];

  function element(tag, text, cls) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    if (cls) made.className = cls;
    return made;
  }

  function breakable(cell) {
    // A long name, path or call may be broken behind its dots, underscores and brackets.
    const parts = cell.textContent.split(/(?<=[._(]+)(?![._(])/);
    cell.replaceChildren();
    parts.forEach((part, i) => cell.append(...(i ? [element("wbr"), part] : [part])));
    return cell;
  }

  // A trace, when it is chosen.

  function choose(index) {
    if (trace === page.traces[index]) return;
    trace = page.traces[index];
    states = [trace.initial];
    for (const changes of trace.changes) {
      const next = states[states.length - 1].slice();
      for (const [cell, value] of changes) next[cell] = value;
      states.push(next);
    }
    at("title").textContent = trace.title + ": " + trace.message;
    const rule = !trace.rule ? trace.origin : "rule: " + trace.rule + (trace.rule_file ? " (" + trace.rule_file + ")" : "") + ", " + trace.origin;
    at("origin").replaceChildren(element("span", rule));
    if (trace.again) at("origin").append(element("br"), element("code", trace.again));
    at("slider").max = trace.steps.length;
    at("text").textContent = trace.text;
    const picture = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(trace.picture);
    Object.assign(at("picture"), { src: picture, alt: trace.title + ": what each thread does, as a sequence diagram; the text below says the same" });
    Object.assign(at("save-picture"), { href: picture, download: "trace.svg" });
    layStory();
    layState();
    for (const link of at("traces").querySelectorAll("a")) {
      if (Number(link.dataset.trace) === index) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  function layStory() {
    const busy = [...new Set(trace.lines.map((line) => line.thread))].sort((a, b) => a - b);
    const story = at("story");
    // A line goes on to the right, over lanes that are empty there: only the last lane has nothing beside it.
    story.style.setProperty("--lanes", [...busy.slice(1).map(() => "minmax(0, 1fr)"), "minmax(0, 2fr)"].join(" "));
    const heads = element("div", null, "heads");
    for (const thread of busy) heads.append(element("span", trace.threads[thread], "t" + (thread % 7)));
    story.replaceChildren(heads);
    let before = null;
    entries = trace.lines.map((line) => {
      const entry = element("div", null, "entry t" + (line.thread % 7) + (line.thread === before ? "" : " turn") + (line.mark ? " mark-" + line.mark : ""));
      before = line.thread;
      entry.append(element("span", trace.threads[line.thread], "who"));
      const button = element("button");
      button.type = "button";
      button.style.setProperty("--lane", busy.indexOf(line.thread));
      button.style.setProperty("--depth", line.depth);
      button.title = "Step " + line.step;
      button.append(breakable(element("span", line.text)));
      if (line.where) button.append(breakable(element("span", line.where, "where")));
      button.setAttribute("aria-label", trace.threads[line.thread] + ", step " + line.step + ": " + line.text);
      button.addEventListener("click", () => go(line.step));
      entry.append(button);
      story.append(entry);
      return entry;
    });
  }

  function layState() {
    cells = [];
    for (const box of ["state", "ours"]) at(box).replaceChildren();
    for (const table of trace.tables) {
      const panel = element("section", null, "panel");
      panel.append(element("h3", table.title));
      const made = element("table");
      const idle = table.columns.map((_, column) => table.rows.every((row) => row.idle[column]));
      if (table.columns.length > 1 || table.columns[0] !== "value") {
        const head = element("tr");
        head.append(element("th"));
        table.columns.forEach((column, i) => {
          const cell = breakable(element("th", column, "column" + (idle[i] ? " idle" : "")));
          cell.scope = "col";
          head.append(cell);
        });
        const top = element("thead");
        top.append(head);
        made.append(top);
      }
      const body = element("tbody");
      for (const row of table.rows) {
        const line = element("tr", null, row.idle.every(Boolean) ? "idle" : "");
        const name = breakable(element("th", row.name));
        name.scope = "row";
        line.append(name);
        row.cells.forEach((number, column) => {
          const cell = element("td", null, idle[column] ? "idle" : "");
          if (number !== null) cells[number] = cell;
          line.append(cell);
        });
        body.append(line);
      }
      made.append(body);
      panel.append(made);
      if (idle.every(Boolean)) panel.classList.add("idle");
      at(table.ours ? "ours" : "state").append(panel);
    }
    at("ours-box").hidden = !at("ours").childElementCount;
    hideIdle();
  }

  function hideIdle() {
    const all = at("everything").checked;
    for (const idle of document.querySelectorAll("#state .idle, #ours .idle")) idle.classList.toggle("off", !all);
  }

  // A step of it.

  function go(to, quiet) {
    if (!trace) return;
    step = Math.min(Math.max(Math.trunc(to) || 0, 0), trace.steps.length);
    at("slider").value = step;
    at("slider").setAttribute("aria-valuetext", "step " + step + " of " + trace.steps.length);
    for (const id of ["first", "back"]) at(id).setAttribute("aria-disabled", step === 0);
    for (const id of ["on", "last"]) at(id).setAttribute("aria-disabled", step === trace.steps.length);
    showStory();
    showState();
    showSource();
    showNow();
    if (!quiet) {
      const named = page.traces.length > 1 ? "trace=" + encodeURIComponent(trace.name) + "&" : "";
      history.replaceState(null, "", "#" + named + "step=" + step);
    }
  }

  function showStory() {
    let here = null;
    entries.forEach((entry, i) => {
      const line = trace.lines[i];
      const now = line.step === step && step > 0;
      entry.classList.toggle("now", now);
      entry.classList.toggle("later", line.step > step);
      if (now) entry.setAttribute("aria-current", "step");
      else entry.removeAttribute("aria-current");
      if (line.step <= step) here = entry;
    });
    const story = at("story");
    const marker = story.querySelector(".marker") || element("div", null, "marker");
    if (here) here.after(marker);
    else story.querySelector(".heads").after(marker);
    const box = story.getBoundingClientRect();
    const place = marker.getBoundingClientRect();
    if (place.bottom > box.bottom - 20 || place.top < box.top + 50) story.scrollTop += place.top - box.top - box.height / 2;
  }

  function changesOf(number) {
    return number ? trace.changes[number - 1] : [];
  }

  function showState() {
    const state = states[step];
    const changed = new Set(changesOf(step).map(([cell]) => cell));
    cells.forEach((cell, i) => {
      cell.classList.toggle("changed", changed.has(i));
      if (changed.has(i)) cell.replaceChildren(element("del", states[step - 1][i]), " \u2192 ", element("ins", state[i]));
      else cell.textContent = state[i];
    });
    const list = at("changes");
    list.replaceChildren();
    for (const [cell, value] of changesOf(step)) {
      if (!trace.ours.includes(cell)) list.append(element("li", trace.cells[cell] + ": " + states[step - 1][cell] + " \u2192 " + value));
    }
    if (!list.childElementCount) list.append(element("li", step ? "It changes nothing." : "Nothing has run yet.", "none"));
  }

  function showSource() {
    const box = at("source");
    box.replaceChildren();
    const stack = step ? trace.steps[step - 1].stack.slice().reverse() : [];
    if (!stack.length) box.append(element("p", step ? "In no function of a driver's or of the kernel's." : "Nothing has run yet."));
    stack.forEach((frame, depth) => {
      const source = trace.sources[frame.source];
      const part = element("details");
      part.open = depth === 0 || source.own;
      const summary = element("summary");
      summary.append(element("code", frame.name + "()"), " ", element("span", source.file + ":" + frame.line, "where"));
      part.append(summary);
      const text = element("pre");
      text.tabIndex = 0;
      text.setAttribute("aria-label", "Source of " + frame.name);
      let now = null;
      source.lines.forEach((content, i) => {
        const line = element("span", content || " ");
        const number = source.first + i;
        line.dataset.line = number;
        if (Math.abs(number - frame.line) <= 4) line.classList.add("near");
        if (number === frame.line) {
          line.classList.add("now");
          line.setAttribute("aria-current", "true");
          now = line;
        }
        text.append(line);
      });
      part.append(text);
      if (frame.locals.length) part.append(element("p", frame.locals.map(([name, value]) => name + " = " + value).join(", "), "locals column"));
      box.append(part);
      const scroll = () => { if (now) text.scrollTop = now.offsetTop - text.clientHeight / 2; };
      part.addEventListener("toggle", scroll);
      scroll();
    });
  }

  function showNow() {
    const now = at("now");
    const count = "Step " + step + " of " + trace.steps.length;
    if (!step) {
      now.replaceChildren(count + ": the machine before the first step.");
      return;
    }
    const taken = trace.steps[step - 1];
    const said = trace.lines.filter((line) => line.step === step).map((line) => line.text);
    now.replaceChildren(count + ", " + trace.threads[taken.thread] + ": " + (said.join("; ") || (taken.stack.length && taken.statement) || "on to what it is to do next"), " ");
    const choices = taken.choices.length ? ", it chooses " + taken.choices.join(", ") : "";
    if (taken.line) now.append(element("code", taken.file + ":" + taken.line + choices));
    if (trace.loop && step === trace.steps.length - trace.loop) now.append(" From here it goes round for ever.");
  }

  // What is around it.

  function layResults() {
    const results = page.results;
    if (!results) return;
    at("results").hidden = false;
    const links = page.traces.length;
    const table = at("results").querySelector("table");
    const head = element("tr");
    for (const column of [...results.columns, ...(links ? ["trace"] : [])]) {
      const cell = element("th", column);
      cell.scope = "col";
      head.append(cell);
    }
    const top = element("thead");
    top.append(head);
    const body = element("tbody");
    for (const row of results.rows) {
      const line = element("tr");
      row.cells.forEach((text, i) => line.append(element("td", text, i === results.verdict ? text.replace(" ", "-") : "")));
      const index = page.traces.findIndex((one) => one.name === row.trace);
      if (links) {
        const cell = element("td");
        if (index >= 0) cell.append(linkTo(index, "show"));
        line.append(cell);
      }
      body.append(line);
    }
    table.append(top, body);
    for (const note of results.notes) at("results").querySelector("ul").append(element("li", note));
  }

  function linkTo(index, text) {
    const link = element("a", text);
    link.href = "#trace=" + encodeURIComponent(page.traces[index].name) + "&step=0";
    link.dataset.trace = index;
    return link;
  }

  function layTraces() {
    if (page.traces.length < 2) return;
    const list = element("ul");
    page.traces.forEach((one, index) => {
      const item = element("li");
      item.append(linkTo(index, one.name));
      list.append(item);
    });
    at("traces").append(list);
    at("traces").hidden = false;
  }

  function follow() {
    if (!page.traces.length) return;
    const asked = new URLSearchParams(location.hash.slice(1));
    choose(Math.max(page.traces.findIndex((one) => one.name === asked.get("trace")), 0));
    go(Number(asked.get("step")), true);
  }

  at("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  at("first").addEventListener("click", () => go(0));
  at("back").addEventListener("click", () => go(step - 1));
  at("on").addEventListener("click", () => go(step + 1));
  at("last").addEventListener("click", () => go(trace.steps.length));
  at("everything").addEventListener("change", hideIdle);
  window.addEventListener("hashchange", follow);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.target === at("slider") || !trace) return;
    const ways = { ArrowLeft: step - 1, ArrowRight: step + 1, Home: 0, End: trace.steps.length };
    if (event.key in ways && event.target.tagName !== "PRE") {
      event.preventDefault();
      go(ways[event.key]);
    }
  });
  layResults();
  layTraces();
  if (page.up) {
    at("up").hidden = false;
    at("up").querySelector("a").href = page.up;
  }
  at("trace").hidden = !page.traces.length;
  follow();
})();
