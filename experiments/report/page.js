"use strict";
(() => {
  const root = document.documentElement;

  // Tables that sort: by data-value where a cell has one, otherwise by what it shows; empty ones last.
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent;
  };
  const sort = (table, column, down) => {
    const head = table.tHead.rows[0].cells[column];
    const numbers = head.classList.contains("number");
    const compare = (a, b) => {
      const x = value(a, column), y = value(b, column);
      if (!x || !y) return !x - !y;
      const order = numbers ? x - y : x.localeCompare(y, "en", { numeric: true });
      return down ? -order : order;
    };
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.querySelectorAll("th[data-sort]")) {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () =>
        sort(table, head.cellIndex, head.getAttribute("aria-sort") === "ascending"));
    }
    const label = document.createElement("label");
    const input = document.createElement("input");
    label.className = "filter";
    label.append("Show only runs with", input);
    table.closest(".scroll").before(label);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
  }

  // Charts tell their numbers where the pointer is. The numbers are read off the drawing itself.
  const shown = (number) =>
    Math.abs(number) >= 1e5 || (number && Math.abs(number) < 1e-3) ? number.toExponential(2) : number.toPrecision(4);
  const axis = (words) => {
    const [low, high, start, end] = words.slice(0, 4).map(Number);
    const log = words[4] === "log";
    return (place) => {
      const part = (place - start) / (end - start);
      return log ? low * (high / low) ** part : low + (high - low) * part;
    };
  };
  const points = (path) =>
    [...path.getAttribute("d").matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)].map((found) => [+found[1], +found[2]]);
  for (const chart of document.querySelectorAll(".chart")) {
    const svg = chart.querySelector("svg");
    if (!svg) continue;
    const x = axis(svg.dataset.x.split(" ")), y = axis(svg.dataset.y.split(" "));
    const [, , left, right] = svg.dataset.x.split(" ").map(Number);
    const [, , bottom, top] = svg.dataset.y.split(" ").slice(0, 4).map(Number);
    const at = chart.querySelector(".at"), values = chart.querySelectorAll(".key b");
    let curves, line;
    const leave = () => {
      line?.remove();
      line = undefined;
      at.textContent = "";
      for (const one of values) one.textContent = "";
    };
    const move = (event) => {
      curves ??= [...svg.querySelectorAll(".curve")].map(points);
      const box = svg.getBoundingClientRect();
      const place = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      if (place < left || place > right) return leave();
      if (!line) {
        line = document.createElementNS("http://www.w3.org/2000/svg", "path");
        line.setAttribute("class", "pointer");
        svg.append(line);
      }
      line.setAttribute("d", `M${place} ${top}V${bottom}`);
      at.textContent = `iteration ${Math.round(x(place)).toLocaleString("en")}`;
      curves.forEach((curve, i) => {
        if (!curve.length) return;
        const near = curve.reduce((best, one) => Math.abs(one[0] - place) < Math.abs(best[0] - place) ? one : best);
        values[i].textContent = shown(y(near[1]));
      });
    };
    svg.addEventListener("pointermove", move);
    svg.addEventListener("pointerdown", move);
    svg.addEventListener("pointerleave", leave);
  }

  // The address may name a run to open (#run-3), or a column to sort by (#sort=error, #sort=-time).
  const follow = () => {
    const name = location.hash.slice(1);
    const [, down, column] = name.match(/^sort=(-?)(.*)$/) ?? [];
    if (column !== undefined) {
      for (const table of document.querySelectorAll("table.sortable")) {
        const head = [...table.querySelectorAll("th[data-sort]")].find((one) => one.dataset.sort === column);
        if (head) sort(table, head.cellIndex, down === "-");
      }
      return;
    }
    const target = name && document.getElementById(name);
    const card = target && target.closest("details");
    if (card) {
      card.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", follow);
  follow();

  const measure = () => { root.dataset.overflow = String(root.scrollWidth - root.clientWidth); };
  addEventListener("resize", measure);
  measure();
  root.dataset.ready = "true";
})();
