// The grid: a tile for each image that the filters let pass, in the order asked for, drawn while it is in sight.

const tools = section.querySelector(".tools"), grid = section.querySelector(".grid");
const tiles = new Map(); // place in the index -> its tile
let order = []; // places in the index, as the grid shows them
let sortChosen = false; // by a person; before that the first sort that there are figures for
let drawnChosen = false; // what tiles show, likewise

const SORTS = {
  disagreement: ["disagreement, most first", (row) => row.disagreement, -1],
  loss: ["loss, most first", (row) => row.loss, -1],
  iou: ["IoU with true masks, least first", (row) => row.iou, 1],
  name: ["name", null, 1],
};
const ABOUT = {
  disagreement: () => `disagreement: how much the K samples of an image differ in iteration ${index.last.sample}, 0 to 1.`,
  loss: () => `loss: 1 − agreement of the prediction with the samples, both of iteration ${index.last.both}, 0 to 1.`,
  iou: () => `IoU: mean over an image's true instances, 0 to 1${judgedBy()}.`,
  name: () => "",
};
const CALLED = { prediction: "prediction", sample: "pseudo labels", truth: "true masks" };
const DRAWN = { fill: true, line: true, text: false, photo: true };
const byName = new Intl.Collator("en", { numeric: true }).compare;

// Offers what the run has: sorts that some image has a figure for, its classes; what it has not is hidden.
function offer() {
  const sort = tools.querySelector("[name=sort]"), chosen = sort.value;
  const there = Object.keys(SORTS).filter((key) => key === "name" || index.images.some((row) => key in row));
  sort.replaceChildren(...there.map((key) => new Option(SORTS[key][0], key)));
  if (sortChosen && there.includes(chosen)) sort.value = chosen;
  const classes = tools.querySelector("[name=class]"), wanted = classes.value;
  const count = (label) => index.images.filter((row) => row.classes.includes(label)).length;
  const named = index.classes.map((name, i) => new Option(`${name} (${count(i + 1)})`, i + 1));
  classes.replaceChildren(new Option("all", ""), ...named);
  const negatives = index.images.filter((row) => !row.classes.length).length;
  if (negatives) classes.append(new Option(`none of them (${negatives})`, "0"));
  classes.value = wanted;
  tools.querySelector("[data-needs=states]").hidden = !index.images.some((row) => row.states);
  offerDrawn();
  tools.querySelector("[name=split]").parentElement.hidden = new Set(index.images.map((row) => row.split)).size < 2;
  tools.hidden = !index.images.length;
}

// Tiles draw what some image has.
function offerDrawn() {
  const drawn = tools.querySelector("[name=drawn]");
  const there = [...index.drawn, ...(index.images.some((row) => row.states) ? ["truth"] : []), "nothing"];
  for (const option of drawn.options) option.hidden = option.disabled = !there.includes(option.value);
  const fits = index.drawn[0] || "nothing";
  if (!there.includes(drawn.value) || (!drawnChosen && drawn.value !== fits)) drawn.value = fits;
}

// What is compared with true masks.
function judgedBy() {
  const { sample, val } = index.last;
  const parts = [sample && `on train of the samples of iteration ${sample}`, val && `on val of the prediction of iteration ${val}`];
  return parts.some(Boolean) ? `: ${parts.filter(Boolean).join(", ")}` : "";
}

// Of which iterations the predictions are.
function predictedLine() {
  const splits = ["train", "val"].filter((split) => index.last[split]);
  const of = splits.map((split) => `of iteration ${index.last[split]} on ${split}`).join(", ");
  const behind = index.last.train && index.last.train < Math.max(index.last.sample || 0, index.last.val || 0);
  const why = behind ? `: ${index.train_predicted}` : "";
  return `Drawn are predictions of score ≥ ${index.sure}, ${of}${why}.`;
}

// What the tiles show.
function drawnLine() {
  if (!index.images.length) return "";
  if (index.drawn.includes("prediction")) {
    const drawn = tools.querySelector("[name=drawn]").value;
    return { prediction: predictedLine(), sample: `Drawn are pseudo labels of iteration ${index.last.sample}.` }[drawn] || "";
  }
  const none = "The run has no prediction of its images";
  return index.drawn.length ? `${none}: drawn are pseudo labels, the most frequent sample.` : `${none} and no pseudo labels yet.`;
}

function passes(row) {
  const value = (name) => tools.querySelector(`[name=${name}]`).value;
  const label = Number(value("class")), state = value("state"), [found, merged, split, missed] = row.states || [];
  const ended = { all: found && !merged && !split && !missed, merged, split, missed };
  return (
    (!value("class") || (label ? row.classes.includes(label) : !row.classes.length)) &&
    (!value("split") || row.split === value("split")) &&
    (!value("company") || row.company === value("company")) &&
    (!state || Boolean(ended[state])) &&
    row.name.toLowerCase().includes(value("name").toLowerCase())
  );
}

// Filters and sorts again, and puts the tiles in that order.
function arrange() {
  const key = tools.querySelector("[name=sort]").value || "name", [, figure, sign] = SORTS[key];
  const rows = index.images;
  order = rows.map((_, place) => place).filter((place) => passes(rows[place]));
  order.sort((a, b) => {
    const one = figure && figure(rows[a]), other = figure && figure(rows[b]);
    const known = (one === undefined) - (other === undefined); // those without the figure come last
    return known || (figure && sign * (one - other)) || byName(rows[a].name, rows[b].name);
  });
  grid.replaceChildren(...order.map((place) => tileOf(place, key)));
  const all = index.total > rows.length ? `${rows.length} of the ${index.total} images of the run, evenly spread` : "";
  const waiting = rows.filter((row) => row.waiting).length;
  section.querySelector(".count").textContent = [
    rows.length ? `${order.length} of ${rows.length} images` : "no images yet",
    rows.length && !order.length ? "no image passes these filters" : "",
    all, waiting ? `${waiting} are still being measured` : "",
  ].filter(Boolean).join("; ");
  tell(key);
}

// Above the tiles: what they show, and what they are sorted by.
function tell(key) {
  section.querySelector(".about").textContent = [drawnLine(), ABOUT[key]()].filter(Boolean).join(" ");
}

function tileOf(place, key) {
  const row = index.images[place];
  let tile = tiles.get(place);
  if (!tile) {
    tile = document.createElement("a");
    tile.className = "tile";
    tile.href = `#image=${encodeURIComponent(row.name)}`;
    tile.dataset.place = place;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 0;
    canvas.setAttribute("role", "img");
    tile.append(canvas, document.createElement("b"), document.createElement("span"), document.createElement("i"));
    tiles.set(place, tile);
    sight.observe(tile);
  }
  const [canvas, name, classes, figure] = tile.children;
  canvas.setAttribute("aria-label", row.name);
  name.textContent = row.name;
  tile.title = row.problem ? `${row.name}: ${row.problem}` : row.name;
  classes.textContent = row.classes.map(nameOf).join(", ") || "none of the classes";
  figure.textContent = row.problem ? "unreadable" : key in row && key !== "name" ? row[key].toFixed(2) : row.split;
  return tile;
}

// The set that a tile shows: what was asked for, of the last outer iteration that has it; a prediction where an image has
// no pseudo labels, and the other way round. The tile says of which iteration, and where it is another than was asked for.
function resultOf(detail, wanted) {
  if (!detail || wanted === "nothing") return { instances: [], instead: "", when: "" };
  if (wanted === "truth" && detail.truth) return { instances: detail.truth, instead: "", when: "" };
  const other = { prediction: "sample", sample: "prediction" }[wanted];
  const kind = [wanted, other].find((one) => lastRow(detail, one));
  if (!kind) return { instances: [], instead: `no ${CALLED[wanted]}`, when: "" };
  const row = lastRow(detail, kind), { instances } = kind === "prediction" ? row.prediction : row.samples[0];
  const given = kind === "sample" && row.given ? "given masks of " : "", empty = instances.length ? "" : ": nothing found";
  return { instances, instead: kind === wanted ? "" : CALLED[kind], when: `${given}iteration ${row.t}${empty}` };
}

function lastRow(detail, kind) {
  return [...detail.iterations].reverse().find((row) => (kind === "prediction" ? row.prediction : row.samples));
}

async function drawTile(tile) {
  const place = Number(tile.dataset.place), canvas = tile.firstElementChild;
  try {
    const { picture, detail } = await imageAt(place);
    const photo = await loaded(picture);
    if (!tile.dataset.seen) return;
    const { instances, instead, when } = resultOf(detail, tools.querySelector("[name=drawn]").value);
    badge(tile, "instead", instead);
    badge(tile, "drawn", [instead, when].filter(Boolean).join(", "));
    // the picture lies within the tile as a whole, whatever its shape
    const fit = Math.min(canvas.clientWidth, (canvas.clientHeight * photo.width) / photo.height);
    drawPanel(canvas, fit, { photo, detail, instances }, DRAWN);
  } catch (error) {
    tile.title = error.message;
    tile.classList.add("unreadable");
  }
}

function badge(tile, name, text) {
  if (text) tile.dataset[name] = text;
  else delete tile.dataset[name];
}

// Tiles are drawn as they come into sight and emptied when they are far from it: pictures take memory.
const sight = new IntersectionObserver(
  (seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) {
        target.dataset.seen = "1";
        drawTile(target);
      } else {
        delete target.dataset.seen;
        target.firstElementChild.width = target.firstElementChild.height = 0;
      }
    }
  },
  { rootMargin: "600px" },
);

function redrawSeen() {
  for (const tile of grid.children) if (tile.dataset.seen) drawTile(tile);
}

tools.addEventListener("input", ({ target }) => {
  if (target.name === "sort") sortChosen = true;
  if (target.name !== "drawn") return arrange();
  drawnChosen = true;
  tell(tools.querySelector("[name=sort]").value || "name");
  redrawSeen();
});
