"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const statusLine = document.getElementById("status");
(() => {
  const root = document.documentElement;

  // dark and light
  const theme = document.getElementById("theme");
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark.matches);
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  systemIsDark.addEventListener("change", nameTheme);
  nameTheme();
  theme.hidden = false;
  theme.setAttribute("aria-label", "Switch between dark and light colours");

  // sorting: missing values stay last whichever way
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sort = (header) => {
    const table = header.closest("table"), body = table.tBodies[0], at = header.cellIndex;
    const first = header.dataset.first, other = first === "ascending" ? "descending" : "ascending";
    const way = header.getAttribute("aria-sort") === first ? other : first;
    for (const one of all("th[aria-sort]", table)) one.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const value = (row) => row.cells[at].dataset.value;
    const rows = [...body.rows].sort((one, two) => {
      const a = value(one), b = value(two);
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compare(a, b);
    });
    body.append(...rows);
    const name = header.querySelector("button").textContent;
    table.classList.toggle("resorted", name !== "rank" || way !== "ascending");
    statusLine.textContent = `Sorted by ${name}, ${way}.`;
  };
  for (const header of all("th[data-first]")) {
    header.querySelector("button").addEventListener("click", () => sort(header));
  }

  // which verdict: a group of buttons for each of its data- names
  const controls = document.getElementById("controls");
  const verdicts = all(".verdict");
  const choose = () => {
    const chosen = all("input[type=radio]:checked", controls);
    for (const one of verdicts) one.hidden = chosen.some((button) => one.dataset[button.name] !== button.value);
    document.getElementById("no-verdict").hidden = !verdicts.length || verdicts.some((one) => !one.hidden);
  };
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("input", choose);
  controls.hidden = false;
  choose();

  // a link to a folded part unfolds it; paper shows all of them
  const reveal = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const folded = target && target.closest("details");
    if (folded) folded.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const one of opened) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
})();
