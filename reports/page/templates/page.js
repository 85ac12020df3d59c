"use strict";
(() => {
  const one = (query, from = document) => from.querySelector(query);
  const all = (query, from = document) => [...from.querySelectorAll(query)];
  const make = (tag, text, className) => {
    const node = document.createElement(tag);
    if (text !== undefined && text !== null) node.textContent = text;
    if (className) node.className = className;
    return node;
  };
  const remember = (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* storage is off */ } };
  const recall = (key) => { try { return sessionStorage.getItem(key); } catch { return null; } };

  // Light and dark.
  const root = document.documentElement;
  const theme = recall("theme");
  if (theme) root.dataset.theme = theme;
  const night = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : night.matches);
  // A dark figure is the same PNG with another palette, which begins after 33 bytes: 44 characters.
  const pictures = all("img[data-dark]").filter((image) => image.dataset.dark)
    .map((image) => ({ image, light: image.src, palette: image.dataset.dark }));
  const paint = (dark) => {
    for (const { image, light, palette } of pictures) {
      const at = light.indexOf(",") + 1 + 44;
      const wanted = dark ? light.slice(0, at) + palette + light.slice(at + palette.length) : light;
      if (image.src !== wanted) image.src = wanted;
    }
  };
  one("#theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
    paint(isDark());
  });
  night.addEventListener("change", () => paint(isDark()));
  paint(isDark());

  // Figures of the same results: one at a time.
  for (const chooser of all(".chooser")) {
    const choices = all("input[type=radio]", chooser);
    const choose = () => {
      for (const choice of choices) document.getElementById(`figure-${choice.value}`).hidden = !choice.checked;
    };
    one("fieldset", chooser).hidden = false;
    chooser.addEventListener("change", choose);
    choose();
  }

  // The leaderboard: filter and sort.
  const leaderboard = one("#leaderboard-table");
  const rows = all("tbody tr", leaderboard);
  const filters = all("[data-filter]");
  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = !filters.every((field) => {
        const wanted = field.value.trim().toLowerCase();
        const here = row.dataset[field.dataset.filter].toLowerCase();
        return !wanted || (field.type === "search" ? here.includes(wanted) : here === wanted);
      });
      shown += !row.hidden;
    }
    one("#leaderboard-count").textContent = `${shown} of ${rows.length} rows`;
    for (const field of filters) remember(`filter-${field.dataset.filter}`, field.value);
  };
  for (const field of filters) {
    field.value = recall(`filter-${field.dataset.filter}`) || "";
    if (field.selectedIndex === -1) field.value = "";
    field.addEventListener("input", filter);
  }
  filter();
  const heads = all("thead th", leaderboard);
  const key = (row, column) => {
    const cell = row.children[column];
    const given = cell.dataset.sort;
    if (given === undefined) return cell.textContent.trim();
    return given === "" ? null : Number(given);
  };
  heads.forEach((head, column) => one("button", head).addEventListener("click", () => {
    const numeric = head.classList.contains("number");
    const now = head.getAttribute("aria-sort");
    const up = now ? now === "descending" : !numeric;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const sorted = [...rows].sort((a, b) => {
      const x = key(a, column), y = key(b, column);
      if (x === null || y === null) return (x === null) - (y === null); // unknown comes last
      const order = typeof x === "number" ? x - y : x.localeCompare(y);
      return up ? order : -order;
    });
    one("tbody", leaderboard).append(...sorted);
  }));

  // Copying a table's LaTeX.
  const copy = async (text) => {
    if (navigator.clipboard) {
      try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed: the old way */ }
    }
    const area = make("textarea", text);
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  for (const button of all("button.copy")) {
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.source);
      const done = await copy(source.textContent);
      button.textContent = done ? "Copied" : "Select the source below";
      if (!done) source.parentElement.open = true;
      button.focus();
      setTimeout(() => { button.textContent = "Copy LaTeX"; }, 2000);
    });
  }

  // Every run: searched, paged, and filled when opened.
  const data = JSON.parse(one("#cells").textContent);
  const at = Object.fromEntries(data.columns.map((name, index) => [name, index]));
  const text = (value) => (Array.isArray(value) ? data.strings[value[0]] : value);
  const field = (run, name) => (at[name] === undefined ? null : text(run.row[at[name]]));
  const index = data.runs.map((run) =>
    ["algorithm", "dataset", "status", "preset", "cell"].map((name) => field(run, name)).join(" ").toLowerCase()
    + ` seed ${field(run, "seed")}`);
  const size = 25;
  let page = 0;
  const number = (value) => {
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return value.toLocaleString("en");
    return Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(4)));
  };
  const list = (title, pairs) => {
    const box = make("div");
    box.append(make("h4", title));
    const dl = make("dl");
    for (const [name, value] of pairs) {
      const line = make("div");
      line.append(make("dt", name), make("dd", value));
      dl.append(line);
    }
    box.append(dl);
    return box;
  };
  const curve = (points, name) => {
    const space = "http://www.w3.org/2000/svg";
    const draw = (tag, attributes, label) => {
      const node = document.createElementNS(space, tag);
      for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
      if (label !== undefined) node.textContent = label;
      return node;
    };
    const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
    const low = Math.min(...ys), high = Math.max(...ys), last = Math.max(...xs);
    const x = (v) => 40 + (v / (last || 1)) * 270, y = (v) => 110 - ((v - low) / (high - low || 1)) * 95;
    const svg = draw("svg", { viewBox: "0 0 320 132", role: "img", "aria-label": `${name} over updates` });
    svg.append(
      draw("path", { d: "M40 10V112H314", class: "axis", fill: "none" }),
      draw("path", { d: "M" + points.map((p) => `${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("L"), class: "curve" }),
      draw("text", { x: 36, y: y(high) + 3, "text-anchor": "end" }, number(Number(high.toFixed(1)))),
      draw("text", { x: 36, y: y(low) + 3, "text-anchor": "end" }, number(Number(low.toFixed(1)))),
      draw("text", { x: 40, y: 125 }, "0"),
      draw("text", { x: 310, y: 125, "text-anchor": "end" }, `${number(last)} updates`));
    return svg;
  };
  const fill = (details, run) => {
    const inside = make("div", null, "inside");
    for (const [title, columns] of data.sections) {
      const known = columns.filter(([name]) => field(run, name) !== null);
      if (known.length) inside.append(list(title, known.map(([name, head]) => [head, number(field(run, name))])));
    }
    if (run.curve.length > 1) {
      const box = make("div");
      box.append(make("h4", `${run.measure} during training`), curve(run.curve, run.measure));
      inside.append(box);
    }
    details.append(inside);
    const config = field(run, "config");
    if (config) {
      const box = make("details");
      box.append(make("summary", "Configuration"), make("pre", JSON.stringify(JSON.parse(config), null, 1)));
      details.append(box);
    }
    if (field(run, "error")) details.append(make("p", field(run, "error"), "bad"));
    if (run.log) details.append(make("pre", run.log));
  };
  const show = () => {
    const words = one("#run-find").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const matches = data.runs.filter((_, i) => words.every((word) => index[i].includes(word)));
    const pages = Math.max(1, Math.ceil(matches.length / size));
    page = Math.min(page, pages - 1);
    one("#run-count").textContent = `${matches.length} of ${data.runs.length} runs`;
    one("#run-page").textContent = `page ${page + 1} of ${pages}`;
    one("#run-back").disabled = page === 0;
    one("#run-next").disabled = page === pages - 1;
    one("#run-list").replaceChildren(...matches.slice(page * size, (page + 1) * size).map((run) => {
      const details = make("details", null, "run");
      const summary = make("summary");
      const status = field(run, "status");
      const score = field(run, "score") ?? field(run, "return_mean");
      summary.append(make("span", field(run, "algorithm")), make("span", field(run, "dataset")),
        make("span", `seed ${field(run, "seed")}`), make("span", status, status === "done" ? "" : "bad"),
        make("span", score === null ? "" : `${run.measure} ${number(Number(score.toFixed(1)))}`, "end"));
      details.append(summary);
      details.addEventListener("toggle", () => { if (details.children.length === 1) fill(details, run); });
      return details;
    }));
  };
  one("#run-find").addEventListener("input", () => { page = 0; show(); });
  one("#run-back").addEventListener("click", () => { page -= 1; show(); });
  one("#run-next").addEventListener("click", () => { page += 1; show(); });
  show();

  // On paper every table is open.
  addEventListener("beforeprint", () => {
    for (const table of all("details.table")) table.open = true;
    paint(false);
  });
  addEventListener("afterprint", () => paint(isDark()));

  // Live: read the file again unless the reader is typing or has opened something.
  const refresh = one('meta[name="om2p-refresh"]');
  if (refresh) {
    setInterval(() => {
      if (!document.activeElement.matches("input, select") && !one("details.run[open], details.failure[open], details.source[open]")) location.reload();
    }, 1000 * Number(refresh.content));
  }
})();
