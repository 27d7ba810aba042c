// Searches items by words of the title, item id or Semantic ID.

const MOST_FOUND = 20;
let haystack = [];

function startSearch() {
  const input = document.getElementById("search");
  haystack = items.ids.map((id, row) => `${items.titles ? items.titles[row] : ""}\n${id}\n${sidOf(row)}`.toLowerCase());
  if (items.count) document.getElementById("example").textContent = sidOf(items.count >> 1);
  input.disabled = false;
  input.addEventListener("input", () => find(input.value));
  status(`${counted(items.count, "item")} to search.`);
}

const status = (text) => (document.getElementById("search-status").textContent = text);

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const results = document.getElementById("search-results");
  results.replaceChildren();
  document.getElementById("item").replaceChildren();
  if (!words.length) return status(`${counted(items.count, "item")} to search.`);
  const found = ranked(words);
  const missing = data.numShown < data.numItems ? ` of the ${number(data.numShown)} on this page` : "";
  status(found.length ? `${counted(found.length, "item")}${missing}${found.length > MOST_FOUND ? `, of which ${MOST_FOUND} are shown` : ""}.` : `No item${missing} contains these words.`);
  for (const row of found.slice(0, MOST_FOUND)) results.append(element("li", {}, itemRow(row)));
}

// Returns the matching rows: first exact matches, then titles that begin with the text, then the others.
function ranked(words) {
  const whole = words.join(" ");
  const exact = [], begins = [], others = [];
  haystack.forEach((text, row) => {
    if (!words.every((word) => text.includes(word))) return;
    if (text.split("\n").includes(whole)) exact.push(row);
    else if (text.startsWith(whole)) begins.push(row);
    else others.push(row);
  });
  return [...exact, ...begins, ...others];
}
