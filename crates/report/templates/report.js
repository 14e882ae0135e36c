"use strict";
(() => {
  const say = (text) => { document.getElementById("status").textContent = text; };

  // Sorting. A missing value has an empty key and stays at the end in both directions.
  const sorted = (rows, column, isNumber, sign) => {
    const key = (row) => row.cells[column].dataset.key;
    const order = isNumber ? (a, b) => Number(a) - Number(b)
      : (a, b) => a.localeCompare(b, "en", { numeric: true });
    return rows.sort((a, b) => {
      const [left, right] = [key(a), key(b)];
      if (left === "" || right === "") return (left === "") - (right === "");
      return sign * order(left, right);
    });
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = heading.querySelector("button");
      const isNumber = "number" in button.dataset;
      const numeric = isNumber || [...table.tBodies[0].rows].every((row) => row.cells[column].dataset.key === "" || !Number.isNaN(Number(row.cells[column].dataset.key)));
      button.addEventListener("click", () => {
        const current = heading.getAttribute("aria-sort");
        const first = numeric ? "descending" : "ascending";
        const other = numeric ? "ascending" : "descending";
        const next = current === first ? other : first;
        for (const one of headings) one.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", next);
        const body = table.tBodies[0];
        body.append(...sorted([...body.rows], column, numeric, next === "ascending" ? 1 : -1));
        say(`Sorted by ${button.textContent}, ${next}`);
      });
    });
  }

  // Filtering layers.
  const filter = document.getElementById("layer-filter");
  if (filter) {
    filter.parentElement.hidden = false;
    const rows = [...document.querySelectorAll("#layer-table tbody tr")];
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = `${row.textContent} ${row.cells[0].dataset.key}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        if (!row.hidden) shown += 1;
      }
      document.getElementById("layer-count").textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
  }

  // Colour scheme: automatic, light, dark. Remembered where the browser lets a file remember.
  const theme = document.getElementById("theme");
  const names = ["automatic", "light", "dark"];
  const recall = () => { try { return localStorage.getItem("lissom-theme"); } catch { return null; } };
  const keep = (name) => { try { localStorage.setItem("lissom-theme", name); } catch { /* private mode */ } };
  const show = (name) => {
    if (name === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
  };
  let name = names.includes(recall()) ? recall() : "automatic";
  show(name);
  theme.hidden = false;
  theme.addEventListener("click", () => {
    name = names[(names.indexOf(name) + 1) % names.length];
    show(name);
    keep(name);
  });

  // Paper shows everything.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
})();
