// Unpacks the items of the page, which are in the order of their Semantic IDs, and shows an item.

const data = JSON.parse(document.getElementById("data").textContent);
let items = null;

async function unpackItems() {
  const packed = atob(document.getElementById("items").textContent);
  const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  items = await new Response(stream).json();
  items.codesOf = new Map(items.moved.map((row, place) => [row, items.codes[place]]));
  items.count = items.ids.length;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name === "click") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  // Texts become text nodes, so that titles are never parsed as HTML.
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

const number = (value) => value.toLocaleString("en-US");
const counted = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;
const titleOf = (row) => (items.titles && items.titles[row]) || items.ids[row];
const codesOf = (row) => items.sids.map((level) => level[row]);
const sidOf = (row) => codesOf(row).join("-");

// Returns the first row whose ID begins with these codes or comes after them in the order. With `past`, rows whose IDs
// begin with these codes are skipped.
function firstFrom(codes, past = false) {
  let low = 0, high = items.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    let sign = 0;
    for (let level = 0; level < codes.length && !sign; level++) sign = items.sids[level][middle] - codes[level];
    if (sign < 0 || (past && sign === 0)) low = middle + 1;
    else high = middle;
  }
  return low;
}

const under = (prefix) => [firstFrom(prefix), firstFrom(prefix, true)];

function sidElement(sid, shared = 0) {
  const codes = sid.split("-");
  const first = codes.slice(0, shared).join("-");
  const rest = codes.slice(shared).join("-");
  return element("span", { class: "sid" }, element("b", {}, first), shared && rest ? "-" : "", rest);
}

function itemRow(row, shared = 0) {
  return element(
    "button", { class: "row", type: "button", click: () => showItem(row, document.getElementById("item")) },
    sidElement(sidOf(row), shared), element("span", { class: "title" }, titleOf(row)),
  );
}

// Returns a list that shows its first entries, and more entries at the click of a button.
function longList(count, make, { step = 50, tag = "ul", ...attributes } = {}) {
  const list = element(tag, attributes);
  const box = element("div", {}, list);
  let shown = 0;
  const more = element("button", { class: "more", type: "button", click: () => extend() });
  function extend() {
    const end = Math.min(shown + step, count);
    for (; shown < end; shown++) list.append(element("li", {}, make(shown)));
    more.textContent = `Show more (${number(count - shown)} left)`;
    if (shown === count) more.remove();
    else box.append(more);
  }
  extend();
  return box;
}

function describe(row) {
  const list = element("dl");
  const add = (name, value) => value && list.append(element("dt", {}, name), element("dd", {}, value));
  add("Semantic ID", sidElement(sidOf(row)));
  add(data.idColumn, items.ids[row]);
  data.columns.forEach((name, place) => add(name, items.columns[place][row]));
  const codes = items.codesOf.get(row);
  if (codes) {
    const [first, end] = under(codes);
    const holder = first < end ? `, which belongs to ${titleOf(first)}` : "";
    add("relocated", `the model assigned ${codes.join("-")}${holder}`);
  }
  return list;
}

// Shows an item and its neighbors: items with a common prefix, the longest prefix first.
function showItem(row, place) {
  const card = element("div", { class: "card" }, element("h3", {}, titleOf(row)), describe(row));
  const codes = codesOf(row);
  let [innerFirst, innerEnd] = [row, row + 1];
  for (let depth = codes.length; depth >= 1; depth--) {
    const [first, end] = under(codes.slice(0, depth));
    const rows = [];
    for (let each = first; each < end; each++) if (each < innerFirst || each >= innerEnd) rows.push(each);
    [innerFirst, innerEnd] = [first, end];
    if (!rows.length) continue;
    const words = (items.words[codes.slice(0, depth).join("-")] || []).join(", ");
    card.append(element("h4", {}, `${counted(rows.length, "item")} with the same ${depth === 1 ? "first code" : `first ${depth} codes`}${words ? `: ${words}` : ""}`));
    card.append(longList(rows.length, (each) => itemRow(rows[each], depth), { step: 8 }));
  }
  place.replaceChildren(card);
  if (place.id === "item") {
    place.scrollIntoView({ block: "nearest" });
    place.focus({ preventScroll: true });
  }
}
