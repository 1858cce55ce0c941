"use strict";
// Search and filters of the rows. It reads only what the page shows.
(() => {
  const form = document.getElementById("controls");
  if (!form) return;
  const PRINTED = 10;
  const list = document.querySelector("#rows .rows");
  const rows = [...list.querySelectorAll("article.row")];
  const texts = new Map();
  const textOf = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const filters = [["filter-label", ".label"], ["filter-persona", ".persona"], ["filter-why", ".why"]]
    .map(([id, chips]) => [document.getElementById(id), chips])
    .filter(([select]) => select);
  const search = document.getElementById("search");
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    // The first rows that are found are printed.
    list.classList.add("found-rows");
    for (const row of rows) {
      const has = ([select, chips]) =>
        !select.value || [...row.querySelectorAll(chips)].some((chip) => chip.textContent === select.value);
      row.hidden = !(filters.every(has) && words.every((word) => textOf(row).includes(word)));
      shown += row.hidden ? 0 : 1;
      row.classList.toggle("unprinted", shown > PRINTED);
      if (row.hidden || !words.length) continue;
      // A part that is closed opens if it has a word that was searched for.
      for (const rest of row.querySelectorAll("details:not([open])")) {
        const text = rest.textContent.toLowerCase();
        if (words.some((word) => text.includes(word))) rest.open = true;
      }
    }
    document.getElementById("found").textContent = `${shown} of ${rows.length} rows`;
    document.getElementById("no-rows").hidden = shown > 0;
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", apply);
  apply();
  // A link to a row shows it, whatever the filters are.
  addEventListener("hashchange", () => {
    let id = location.hash.slice(1);
    // A link can have any text, also one that is not percent-encoded.
    try { id = decodeURIComponent(id); } catch { return; }
    const row = document.getElementById(id);
    if (row && row.hidden) {
      form.reset();
      apply();
      row.scrollIntoView();
    }
  });
})();
