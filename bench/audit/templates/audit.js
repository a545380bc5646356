(() => {
  // which generated images: those whose best score is high enough
  const counted = (n) => n.toLocaleString("en");
  for (const form of all(".least")) {
    const slider = form.querySelector("input"), output = form.querySelector("output");
    const copies = all(".copies > li", form.closest(".verdict"));
    const counts = slider.dataset.counts.split(" ").map(Number);
    const filter = () => {
      const least = Number(slider.value);
      for (const copy of copies) copy.hidden = Number(copy.dataset.score) < least;
      const n = counts[Math.round((least - Number(slider.min)) / Number(slider.step))];
      const shown = copies.filter((copy) => !copy.hidden).length;
      const rest = shown < n ? `; the first ${counted(shown)} are shown` : "";
      output.textContent = `${slider.value}: ${counted(n)} of ${counted(counts[0])} generated images${rest}`;
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    slider.addEventListener("input", filter);
    form.hidden = false;
    filter();
  }
})();
