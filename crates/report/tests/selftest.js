// Runs inside the page in a browser; writes what is wrong, or "ok", where the test reads it.
addEventListener("load", () => {
  const wrong = [...window.seen];
  let checks = 0;
  const check = (holds, text) => { checks += 1; if (!holds) wrong.push(text); };
  try {
    check(window.pwned === undefined, "a name ran as a script");
    check(performance.getEntriesByType("resource").length === 0, "something was loaded");

    for (const table of document.querySelectorAll("table[data-sortable]")) {
      [...table.tHead.rows[0].cells].forEach((heading, column) => {
        const button = heading.querySelector("button");
        check(button && button.tagName === "BUTTON" && button.tabIndex === 0, "a heading is no button");
        const numeric = [...table.tBodies[0].rows].every((row) => !Number.isNaN(Number(row.cells[column].dataset.key)));
        const n = table.tBodies[0].rows.length;
        for (const direction of numeric ? ["descending", "ascending"] : ["ascending", "descending"]) {
          button.click();
          check(heading.getAttribute("aria-sort") === direction, `${button.textContent}: aria-sort is not ${direction}`);
          check(table.querySelectorAll("[aria-sort]").length === 1, "two columns claim to be sorted");
          const keys = [...table.tBodies[0].rows].map((row) => row.cells[column].dataset.key);
          check(keys.length === n, "a row was lost");
          const known = keys.filter((key) => key !== "");
          check(keys.slice(0, known.length).every((key) => key !== ""), `${button.textContent}: a missing value is not last`);
          const sign = direction === "ascending" ? 1 : -1;
          for (let i = 1; i < known.length; i += 1) {
            const order = numeric ? Number(known[i - 1]) - Number(known[i])
              : known[i - 1].localeCompare(known[i], "en", { numeric: true });
            check(sign * order <= 0, `${button.textContent}: ${known[i - 1]} before ${known[i]}, ${direction}`);
          }
        }
        check(document.getElementById("status").textContent.startsWith("Sorted by"), "sorting is not said aloud");
      });
    }

    const button = document.querySelector("th button");
    if (button) {
      button.focus({ focusVisible: true });
      check(document.activeElement === button, "a sort button takes no focus");
      check(getComputedStyle(button).outlineStyle === "solid", "the focus cannot be seen");
    }

    const filter = document.getElementById("layer-filter");
    if (filter) {
      check(filter.labels.length === 1, "the filter has no label");
      const rows = [...document.querySelectorAll("#layer-table tbody tr")];
      filter.value = "no layer is called so";
      filter.dispatchEvent(new Event("input"));
      check(rows.every((row) => row.hidden), "the filter keeps rows that do not match");
      filter.value = "";
      filter.dispatchEvent(new Event("input"));
      check(rows.every((row) => !row.hidden), "an empty filter hides rows");
    }

    const theme = document.getElementById("theme");
    const page = () => getComputedStyle(document.body).backgroundColor;
    const luminance = (color) => {
      const canvas = document.createElement("canvas").getContext("2d");
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (a, b) => {
      const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
      return (high + 0.05) / (low + 0.05);
    };
    const seen = {};
    for (let i = 0; i < 3; i += 1) {
      seen[theme.textContent] = page();
      for (const element of document.querySelectorAll("h1, h2, .lead, td, th, dt, dd, .brand span, a, summary")) {
        const surface = element.closest("section") || document.body;
        const ratio = contrast(getComputedStyle(element).color, getComputedStyle(surface).backgroundColor);
        check(ratio >= 4.5, `${theme.textContent}: contrast ${ratio.toFixed(2)} of ${element.tagName}.${element.className}`);
      }
      theme.click();
    }
    check(seen["Theme: light"] && seen["Theme: dark"] && seen["Theme: light"] !== seen["Theme: dark"], "the theme button does nothing");
    check(seen["Theme: automatic"] === seen[matchMedia("(prefers-color-scheme: dark)").matches ? "Theme: dark" : "Theme: light"], "the automatic theme ignores the system");

    for (const svg of document.querySelectorAll("svg")) {
      check(svg.getAttribute("role") === "img" && svg.getAttribute("aria-label"), "a chart says nothing");
      const drawing = svg.cloneNode(true);
      drawing.removeAttribute("aria-label");
      for (const words of drawing.querySelectorAll("text, title")) words.textContent = "";
      check(!/NaN|inf|undefined/i.test(drawing.outerHTML), "a chart has a broken coordinate");
    }
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    check(new Set(ids).size === ids.length, "an id occurs twice");
    for (const element of document.querySelectorAll("[aria-labelledby]")) check(ids.includes(element.getAttribute("aria-labelledby")), "a label is missing");
    for (const link of document.querySelectorAll("a[href^='#']")) check(ids.includes(link.getAttribute("href").slice(1)), `a link to nothing: ${link.href}`);
    check(document.querySelectorAll("h1").length === 1, "not one main heading");
    for (const element of document.querySelectorAll(".scroll")) check(element.tabIndex === 0, "a scrolling table cannot be reached by keyboard");
    check(document.documentElement.scrollWidth <= innerWidth, `the page is ${document.documentElement.scrollWidth} wide in a window of ${innerWidth}`);
  } catch (error) {
    wrong.push(`exception: ${error.stack}`);
  }
  document.body.insertAdjacentHTML("beforeend", "<pre id=\"selftest-result\"></pre>");
  document.getElementById("selftest-result").textContent = wrong.length ? [...new Set(wrong)].slice(0, 20).join("\n") : `ok, ${checks} checks`;
});
