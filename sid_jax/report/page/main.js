// Draws plots, items, search, tree and lists in this order, with pauses in which the browser can handle user input.

const pause = () => new Promise((resume) => setTimeout(resume));

async function drawPlots() {
  Bokeh.set_log_level("error");
  const plots = JSON.parse(document.getElementById("plots").textContent);
  for (const [id, plot] of Object.entries(plots)) {
    await Bokeh.embed.embed_item(plot, id);
    await pause();
  }
  paintPlots();
}

async function start() {
  startTheme();
  try {
    await drawPlots();
    await unpackItems();
    await pause();
    fillMap();
    await pause();
    startSearch();
    startTree();
    await pause();
    startLists();
  } catch (error) {
    status(`This browser cannot load the items (${error.message}); use a browser of 2023 or later.`);
    throw error;
  }
  // Marks the page as ready after it has been painted.
  await new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)));
  performance.mark("ready");
  document.documentElement.dataset.ready = "true";
}

start();
