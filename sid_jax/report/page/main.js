// The order in which things come to be; between them the browser may do what a person asks of it.

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
  // Once what is drawn is on the screen.
  await new Promise((resume) => requestAnimationFrame(() => setTimeout(resume)));
  performance.mark("ready");
  document.documentElement.dataset.ready = "true";
}

start();
