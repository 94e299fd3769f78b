// One image: what was given, seeds, true masks, and for each outer iteration its distinct samples and the prediction,
// side by side; one of them large. A link to it ends in #image=NAME.

const viewer = document.getElementById("viewer");
const layerBox = viewer.querySelector(".layers"), main = viewer.querySelector(".main");
let open = null; // { place, photo, detail, panels, large }
let looked = ""; // key of the panel that was last made large, which the next image shows large too

// The panels of an image, in rows: { title, panels: [{ key, caption, instances, seeds, boxes }] }.
function rowsOf(row, detail) {
  const weak = row.classes.map(nameOf).join(", ") || "none of the classes";
  const given = [{ key: "given", caption: `given: ${weak}`, boxes: detail.boxes }];
  if (detail.seeds) given.push({ key: "seeds", caption: counted(detail.seeds.length, "seed"), seeds: detail.seeds, boxes: detail.boxes });
  if (detail.truth) given.push({ key: "truth", caption: `true masks${ended(detail.states)}`, instances: detail.truth });
  const certain = detail.iterations.find((one) => one.given);
  if (certain) given.push({ key: "masks", caption: `given masks, from iteration ${certain.t} on`, instances: certain.samples[0].instances });
  for (const one of detail.others) given.push({ key: one.title, caption: one.title + measured(one), instances: one.instances });
  return [{ title: "Given", panels: given }, ...detail.iterations.map((one) => iterationRow(one, row.split))];
}

function iterationRow({ t, samples = [], prediction, given }, split) {
  const all = samples.reduce((sum, one) => sum + one.count, 0);
  const panels = samples.map((one, number) => ({
    key: `sample ${number}@${t}`, caption: `${given ? "given masks" : `${one.count} of ${all} samples`}${measured(one)}`, instances: one.instances,
  }));
  if (prediction) {
    const sure = `score ≥ ${index.sure}`;
    const found = prediction.instances.length ? `prediction (${sure})` : `prediction: nothing found (${sure})`;
    panels.push({ key: `prediction@${t}`, caption: found + measured(prediction), instances: prediction.instances });
  }
  const note = !prediction && split === "train" ? `No prediction: ${index.train_predicted}.` : "";
  return { title: `Outer iteration ${t}`, panels, note };
}

function counted(count, what) {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function measured({ iou }) {
  return iou === undefined ? "" : `: IoU ${(100 * iou).toFixed(0)} %`;
}

function ended(states = []) {
  const told = index.states.map((state) => [state, states.filter((one) => one === state).length]);
  const there = told.filter(([, count]) => count).map(([state, count]) => `${count} ${state}`);
  return there.length ? `: ${there.join(", ")}` : "";
}

async function show(place) {
  const row = index.images[place];
  if (!viewer.open) viewer.showModal();
  document.body.classList.add("viewing");
  viewer.querySelector("h2").textContent = row.name;
  viewer.querySelector(".place").textContent = order.includes(place) ? `${order.indexOf(place) + 1} of ${order.length}` : "";
  viewer.querySelector(".facts").textContent = factsOf(row);
  open = { place };
  try {
    const { picture, detail } = await imageAt(place);
    const photo = await loaded(picture);
    if (open.place !== place) return; // another was asked for meanwhile
    open = { place, photo, detail, rows: detail ? rowsOf(row, detail) : [] };
    layPanels();
    if (live) takeFullSize(place);
  } catch (error) {
    viewer.querySelector(".facts").textContent = `cannot be shown: ${error.message}`;
  }
}

function factsOf(row) {
  const figures = ["disagreement", "loss", "iou"].filter((key) => key in row);
  return [
    row.split, ...(row.company ? [row.company === "alone" ? "alone of its class" : "among several of its class"] : []),
    ...(row.given ? [`given masks from iteration ${row.given} on`] : []),
    ...figures.map((key) => `${key === "iou" ? "IoU" : key} ${row[key].toFixed(2)}`), ...(row.problem ? [row.problem] : []),
  ].join(" · ");
}

// `wsis view` has the photograph at its own size for the large panel.
async function takeFullSize(place) {
  const photo = await loaded(`photo/${place}?v=${version}`).catch(() => null);
  if (photo && open && open.place === place) {
    open.full = photo;
    drawLarge();
  }
}

function layPanels() {
  const keys = open.rows.flatMap((row) => row.panels.map((panel) => panel.key));
  open.large = keys.includes(looked) ? looked : keys.filter((key) => /^(sample 0|prediction)@/.test(key)).pop() || keys[0];
  layerBox.querySelector("[name=truth]").parentElement.hidden = !(open.detail && open.detail.truth);
  layerBox.querySelector("[name=seeds]").parentElement.hidden = !(open.detail && open.detail.seeds);
  layerBox.querySelector("[name=boxes]").parentElement.hidden = !(open.detail && open.detail.boxes);
  viewer.querySelector(".panels").replaceChildren(...open.rows.map(laidRow));
  drawAll();
}

function laidRow({ title, panels, note }) {
  const part = document.createElement("section"), heading = document.createElement("h3"), line = document.createElement("div");
  heading.textContent = title;
  line.className = "line";
  for (const panel of panels) {
    const button = document.createElement("button"), canvas = document.createElement("canvas"), caption = document.createElement("span");
    button.dataset.key = panel.key;
    caption.textContent = panel.caption;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}, ${panel.caption}`);
    button.append(canvas, caption);
    button.addEventListener("click", () => {
      looked = open.large = panel.key;
      drawAll();
    });
    line.append(button);
  }
  part.append(heading, line);
  if (note) {
    const said = document.createElement("p");
    said.className = "note";
    said.textContent = note;
    part.append(said);
  }
  return part;
}

function layersNow() {
  return Object.fromEntries([...layerBox.querySelectorAll("input")].map((box) => [box.name, box.checked]));
}

// What a panel shows under the layers that are on; seeds and boxes are also those of the panels about them.
function shownIn(panel, layers, photo) {
  const { detail } = open;
  return {
    photo, detail, instances: panel.instances,
    seeds: panel.seeds || (layers.seeds && detail.seeds), boxes: panel.boxes || (layers.boxes && detail.boxes),
    outlines: layers.truth && panel.key !== "truth" ? detail.truth : [],
  };
}

function drawAll() {
  const layers = layersNow();
  for (const panel of open.rows.flatMap((row) => row.panels)) {
    const button = viewer.querySelector(`[data-key="${CSS.escape(panel.key)}"]`), canvas = button.firstElementChild;
    button.setAttribute("aria-pressed", panel.key === open.large);
    drawPanel(canvas, button.clientWidth || 200, shownIn(panel, layers, open.photo), layers);
  }
  drawLarge();
}

function drawLarge() {
  const panel = open.rows.flatMap((row) => row.panels).find((one) => one.key === open.large), canvas = main.firstElementChild;
  const row = open.rows.find((one) => one.panels.includes(panel));
  const [height, width] = open.detail ? open.detail.size : [open.photo.height, open.photo.width];
  const room = main.parentElement.clientWidth, tall = Math.max(220, window.innerHeight * (window.innerWidth > 900 ? 0.72 : 0.5));
  const across = Math.floor(Math.min(room, (tall * width) / height));
  canvas.style.width = `${across}px`;
  const photo = open.full || open.photo;
  drawPanel(canvas, across, panel ? shownIn(panel, layersNow(), photo) : { photo }, layersNow());
  main.querySelector("figcaption").textContent = panel ? `${row.title} · ${panel.caption}` : "";
  canvas.setAttribute("aria-label", main.querySelector("figcaption").textContent);
}

function linkTo(place) {
  return `#image=${encodeURIComponent(index.images[place].name)}`;
}

// The image before or after this one in the order of the grid. Steps do not fill the history.
function step(by) {
  if (!open || !order.length) return;
  const at = order.indexOf(open.place), beside = at < 0 && by < 0 ? order.length - 1 : at + by;
  const place = order[(beside + order.length) % order.length];
  history.replaceState(null, "", linkTo(place));
  show(place);
}

// Shows the image that the address names, or none.
function followAddress() {
  const name = /^#image=(.*)$/.exec(location.hash);
  if (!name) return viewer.open && viewer.close();
  let wanted = name[1];
  try {
    wanted = decodeURIComponent(name[1]);
  } catch {
    // a % that a person typed stands for itself
  }
  const place = index.images.findIndex((row) => row.name === wanted);
  if (place >= 0) return show(place);
  section.querySelector(".count").textContent = `no image is called ${wanted}`;
  section.scrollIntoView();
}

viewer.addEventListener("close", () => {
  const tile = open && tiles.get(open.place);
  open = null;
  document.body.classList.remove("viewing");
  if (location.hash.startsWith("#image=")) history.replaceState(null, "", "#gallery");
  if (tile) tile.focus();
});
viewer.addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  step(by);
});
layerBox.addEventListener("change", () => open && open.rows && drawAll());
viewer.querySelector("[name=previous]").addEventListener("click", () => step(-1));
viewer.querySelector("[name=next]").addEventListener("click", () => step(1));
viewer.querySelector("[name=close]").addEventListener("click", () => viewer.close());
viewer.querySelector("[name=link]").addEventListener("click", async ({ target }) => {
  const told = target.textContent;
  try {
    await navigator.clipboard.writeText(location.href);
    target.textContent = "copied";
    setTimeout(() => (target.textContent = told), 1500);
  } catch {
    window.prompt("The link to this image", location.href); // a page on disk may not write to the clipboard
  }
});
window.addEventListener("hashchange", followAddress);
window.addEventListener("resize", () => {
  if (open && open.rows) drawAll();
});
