// The tree of prefixes. A branch is filled when it is opened.

const SAMPLE_TITLES = 3, LONGEST_SAMPLE = 44;
const clipped = (text) => (text.length > LONGEST_SAMPLE ? `${text.slice(0, LONGEST_SAMPLE - 1)}…` : text);

function startTree() {
  readCounts();
  const order = document.getElementById("order");
  const draw = () => document.getElementById("tree").replaceChildren(element("li", {}, branches([], order.value)));
  order.disabled = false;
  order.addEventListener("change", draw);
  draw();
}

// Returns the codes that follow a prefix, each with its number of items.
function childrenOf(prefix) {
  const level = prefix.length, found = new Map();
  const [first, end] = under(prefix);
  for (let row = first; row < end; row++) {
    const code = items.sids[level][row];
    found.set(code, (found.get(code) || 0) + 1);
  }
  for (const code of countedChildren.get(prefix.join("-")) || []) found.set(code, items.prefixes[[...prefix, code].join("-")]);
  return [...found].sort((one, other) => one[0] - other[0]);
}

// The codes that follow a prefix, for the short prefixes that are counted over the whole catalog. Some of these codes may
// have no items on the page.
const countedChildren = new Map();

function readCounts() {
  for (const prefix of Object.keys(items.prefixes)) {
    const codes = prefix.split("-"), above = codes.slice(0, -1).join("-");
    if (!countedChildren.has(above)) countedChildren.set(above, []);
    countedChildren.get(above).push(Number(codes.at(-1)));
  }
}

function branches(prefix, order) {
  const children = childrenOf(prefix);
  if (order === "size") children.sort((one, other) => other[1] - one[1]);
  return longList(children.length, (each) => branch([...prefix, children[each][0]], children[each][1], order), { step: 20 });
}

function branch(prefix, count, order) {
  const [first, end] = under(prefix);
  const name = prefix.join("-");
  if (prefix.length === data.length) return first < end ? longList(end - first, (each) => itemRow(first + each)) : "";
  const titles = [];
  const apart = Math.max(1, Math.floor((end - first) / SAMPLE_TITLES));
  for (let row = first; row < end && titles.length < SAMPLE_TITLES; row += apart) titles.push(clipped(titleOf(row)));
  const swatch = prefix.length === 1 ? element("span", { class: "swatch", style: `background:${data.colors[prefix[0]]}`, "aria-hidden": "true" }) : null;
  const box = element("div", { class: "under" });
  const details = element(
    "details", {},
    element("summary", {}, swatch, element("span", { class: "sid chip" }, name), element("span", { class: "count" }, counted(count, "item")),
      element("span", { class: "words" }, (items.words[name] || []).join(", ")), element("span", { class: "sample" }, titles.join(" · "))),
    box,
  );
  details.addEventListener("toggle", () => {
    if (!details.open || box.childElementCount) return;
    // A prefix with few items lists the items directly, without further branches.
    const few = end - first === count && count <= 12;
    box.append(few ? longList(count, (each) => itemRow(first + each)) : branches(prefix, order));
    if (end - first < count) box.append(element("p", { class: "note" }, `${number(count - (end - first))} of these items are not on this page.`));
  });
  return details;
}
