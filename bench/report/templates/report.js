(() => {
  // which rows
  const controls = document.getElementById("controls");
  const verdicts = all(".verdict");
  const box = document.getElementById("filter");
  const filter = () => {
    // in quotes: the whole name of a backbone
    const words = [...box.value.toLowerCase().matchAll(/"(.+)"|[^\s"]+/g)];
    const commercial = document.getElementById("commercial").checked;
    for (const row of all("tr[data-name]")) {
      const name = row.dataset.name.toLowerCase(), backbone = row.querySelector(".name").dataset.value.toLowerCase();
      const fits = words.every(([word, whole]) => (whole ? backbone === whole : name.includes(word)));
      row.hidden = !fits || (commercial && "nonCommercial" in row.dataset);
    }
    const rows = all("tbody tr", verdicts.find((one) => !one.hidden) ?? document.getElementById("every-row"));
    const shown = rows.filter((row) => !row.hidden).length;
    statusLine.textContent = shown === rows.length ? `${shown} rows.` : `${shown} of ${rows.length} rows.`;
  };
  controls.addEventListener("input", filter);
  filter();

  // figures: a mark tells what it stands for, shows its backbone wherever it is, and filters the leaderboard by it
  const marks = all(".marks rect");
  const names = all("#leaderboard tbody .name");
  const lines = all(".told");
  const nothing = lines[0]?.textContent;
  const told = (mark) => mark.closest("figure").querySelector(".told");
  const show = (mark) => {
    for (const one of marks) one.classList.toggle("same", one.dataset.backbone === mark?.dataset.backbone);
    for (const one of names) one.closest("tr").classList.toggle("same", one.dataset.value === mark?.dataset.backbone);
    for (const line of lines) {
      const isOwn = Boolean(mark) && line === told(mark);
      line.textContent = isOwn ? mark.textContent : nothing;
      line.classList.toggle("chosen", isOwn);
    }
  };
  const pick = (mark) => {
    const whole = `"${mark.dataset.backbone}"`;
    box.value = box.value === whole ? "" : whole;
    filter();
    told(mark).textContent = `${mark.textContent}. Leaderboard: ${statusLine.textContent}`;
  };
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  // the events are the figure's: an SVG that listens to focus takes it
  for (const drawn of all(".drawn")) {
    const backbones = [...Map.groupBy(all("rect", drawn), (mark) => mark.dataset.backbone).values()];
    const clamped = (list, at) => list[Math.min(Math.max(at, 0), list.length - 1)];
    let isFirstTap = false; // which shows a mark alone
    drawn.addEventListener("pointerover", (event) => { if (event.target.matches("rect")) show(event.target); });
    drawn.addEventListener("pointerleave", () => show(document.activeElement?.closest(".marks rect")));
    drawn.addEventListener("focusin", (event) => {
      for (const mark of all("rect", drawn)) mark.setAttribute("tabindex", mark === event.target ? 0 : -1);
      show(event.target);
    });
    drawn.addEventListener("focusout", () => show());
    drawn.addEventListener("pointerdown", (event) => {
      isFirstTap = event.pointerType === "touch" && event.target !== document.activeElement;
    });
    drawn.addEventListener("click", (event) => { if (event.target.matches("rect") && !isFirstTap) pick(event.target); });
    drawn.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const mark = event.target, step = steps[event.key];
      if (step) {
        const at = backbones.findIndex((own) => own.includes(mark));
        clamped(clamped(backbones, at + step[0]), backbones[at].indexOf(mark) + step[1]).focus();
      } else if (event.key === "Enter" || event.key === " ") {
        pick(mark);
      } else {
        return;
      }
      event.preventDefault();
    });
  }
  for (const one of all(".marks, .told, .hint")) one.removeAttribute("hidden");
})();
