// The map: draws the points and the words of some islands, and shows the item that is tapped.

// Width and height of a label, half the width of a letter, and the maximum distance of a tap to a point, in pixels.
const LABEL = [110, 26], HALF_LETTER = 3.5, REACH = 24;

function fillMap() {
  const plot = Bokeh.documents.flatMap((each) => each.roots()).find((each) => each.name === "map");
  const models = [...plot.references()];
  const source = (name) => models.find((each) => each.type === "ColumnDataSource" && each.name === name);
  const rows = items.points;
  source("points").data = {
    x: items.places[0], y: items.places[1],
    color: rows.map((row) => data.colors[items.sids[0][row]]),
    title: rows.map(titleOf), sid: rows.map(sidOf),
  };
  source("labels").data = labels(plot);
  // On a touch screen, dragging scrolls the page. With a mouse, it draws the box of the zoom.
  if (window.matchMedia("(pointer: fine)").matches) models.find((each) => each.type === "BoxZoomTool").active = true;
  plot.on_event("tap", (event) => {
    const place = nearestPoint(plot, event.x, event.y);
    if (place !== null) showItem(rows[place], document.getElementById("map-item"));
  });
  const fewer = rows.length < data.numItems ? `${number(rows.length)} of ${number(data.numItems)} items, a random sample. ` : "";
  document.getElementById("map-note").textContent = `${fewer}${Object.keys(items.words).length ? "The words describe some of the largest islands." : ""}`;
}

// Returns the pixels per unit on the x axis and on the y axis.
function scale(plot) {
  const span = (range) => Math.abs(range.end - range.start) || 1;
  return [plot.inner_width / span(plot.x_range), plot.inner_height / span(plot.y_range)];
}

function nearestPoint(plot, x, y) {
  const [across, up] = scale(plot);
  let best = null, least = REACH ** 2;
  for (let place = 0; place < items.points.length; place++) {
    const distance = ((items.places[0][place] - x) * across) ** 2 + ((items.places[1][place] - y) * up) ** 2;
    if (distance <= least) [best, least] = [place, distance];
  }
  return best;
}

// Returns the labels of the islands; a label is the first word of its island. A label that does not fit on the map, or
// that would overlap or repeat the label of a larger island, is omitted.
function labels(plot) {
  const islands = new Map();
  items.points.forEach((row, place) => {
    const code = items.sids[0][row];
    const island = islands.get(code) || { code, count: 0, x: 0, y: 0 };
    island.count++;
    island.x += items.places[0][place];
    island.y += items.places[1][place];
    islands.set(code, island);
  });
  const [across, up] = scale(plot);
  const chosen = [];
  for (const { code, count, x, y } of [...islands.values()].sort((one, other) => other.count - one.count)) {
    const words = (items.words[code] || [])[0];
    const label = { x: x / count, y: y / count, words };
    const clear = (other) => Math.abs(other.x - label.x) * across > LABEL[0] || Math.abs(other.y - label.y) * up > LABEL[1];
    if (!words) continue;
    const room = Math.min(label.x - plot.x_range.start, plot.x_range.end - label.x) * across;
    if (words.length * HALF_LETTER < room && chosen.every((other) => clear(other) && other.words !== words)) chosen.push(label);
  }
  return Object.fromEntries(["x", "y", "words"].map((name) => [name, chosen.map((label) => label[name])]));
}
