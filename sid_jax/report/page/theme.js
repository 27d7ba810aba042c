// Light and dark theme: the colors are defined in CSS, and are copied to the plots.

const dark = window.matchMedia("(prefers-color-scheme: dark)");

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function paintPlots() {
  const text = color("--text"), quiet = color("--quiet"), line = color("--line");
  const looks = {
    Axis: { axis_label_text_color: quiet, major_label_text_color: quiet, axis_line_color: line, major_tick_line_color: line },
    Grid: { grid_line_color: line },
    Legend: { label_text_color: text },
    ColorBar: { title_text_color: quiet, major_label_text_color: quiet },
  };
  for (const plot of Bokeh.documents.flatMap((each) => each.roots())) {
    for (const model of plot.references()) {
      const kind = Object.keys(looks).find((name) => model.type.endsWith(name));
      if (kind) model.setv(looks[kind]);
      if (model.type === "Text") model.setv({ text_color: { value: text }, background_fill_color: { value: color("--card") }, background_fill_alpha: { value: 0.7 } });
    }
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  paintPlots();
}

function startTheme() {
  const now = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  document.getElementById("theme").addEventListener("click", () => setTheme(now() === "dark" ? "light" : "dark"));
  dark.addEventListener("change", paintPlots);
}
