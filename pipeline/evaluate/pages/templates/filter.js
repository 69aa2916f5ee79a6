// Shows the pairs whose prompt contains all words, and that are of the chosen list and category.
"use strict";
const form = document.getElementById("filter");
const pairs = Array.from(document.querySelectorAll("[data-prompt]"));
const count = document.getElementById("count");

function apply() {
  const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const list = form.elements.list.value;
  const category = form.elements.category ? form.elements.category.value : "";
  let shown = 0;
  for (const pair of pairs) {
    const prompt = pair.dataset.prompt.toLowerCase();
    const isShown = words.every((word) => prompt.includes(word))
      && (list === "" || pair.dataset.list === list)
      && (category === "" || pair.dataset.categories.split("\n").includes(category));
    pair.hidden = !isShown;
    shown += isShown ? 1 : 0;
  }
  for (const group of document.querySelectorAll("[data-group]")) {
    group.hidden = group.querySelector("[data-prompt]:not([hidden])") === null;
  }
  count.textContent = `${shown} of ${pairs.length} pairs are shown`;
}

form.addEventListener("input", apply);
form.addEventListener("reset", () => setTimeout(apply));
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
apply();
