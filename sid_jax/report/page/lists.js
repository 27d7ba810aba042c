// Lists of weak spots: crowded code tuples, relocated items, and items with the same vector.

function startLists() {
  const fill = (id, ...content) => document.getElementById(id).replaceChildren(...content.filter((each) => each !== null));
  const note = (text) => element("p", {}, text);
  fill("crowded", data.crowded.length ? note("The code tuples with the most items, and the IDs of these items:") : null, groups(data.crowded));
  fill("moved", note(movedWords()), longList(items.moved.length, movedRow, { step: 10 }));
  if (data.identical === null) fill("identical", note("Unknown, since the vectors were not available when this export was written."));
  else if (!data.identical.length) fill("identical", note("None: no two items have the same vector."));
  else
    fill("identical", note(`${counted(data.numIdentical, "item")} in ${counted(data.numIdenticalGroups, "group")} have the same vector as another item. No model can distinguish such items.`), groups(data.identical));
}

function movedWords() {
  if (data.scheme !== "relocate") return `None: with the scheme “${data.scheme}” each ID begins with the item's code tuple.`;
  if (!data.numMoved) return "None: each item has its own code tuple.";
  const fewer = items.moved.length < data.numMoved ? ` ${number(items.moved.length)} of these items are on this page.` : "";
  return `${counted(data.numMoved, "item")} had the code tuple of another item and got a free code tuple nearby.${fewer}`;
}

function movedRow(place) {
  const row = items.moved[place];
  return element(
    "button", { class: "row", type: "button", click: () => showItem(row, document.getElementById("item")) },
    element("span", { class: "sid" }, `${items.codes[place].join("-")} → ${sidOf(row)}`), element("span", { class: "title" }, titleOf(row)),
  );
}

function groups(list) {
  return longList(list.length, (each) => {
    const { size, items: members } = list[each];
    const rows = longList(members.length, (place) => element("div", { class: "row" }, sidElement(members[place][2]), element("span", { class: "title" }, members[place][1])), { step: 4 });
    const left = size > members.length ? element("p", { class: "note" }, `and ${number(size - members.length)} more`) : null;
    return element("div", { class: "group" }, element("strong", {}, counted(size, "item")), rows, left);
  }, { step: 3 });
}
