// Where the gallery's data comes from: the index and the chunks that lie in this page, or those that `wsis view`
// serves; and what a chunk holds: small photographs, masks as run lengths, instances that name them.

const section = document.getElementById("gallery");
const live = section.dataset.live !== undefined;
let index = JSON.parse(document.getElementById("gallery-index").textContent);
let version = index.version || ""; // of what the server has; "" in a page on disk

const KEPT = 60; // chunks in memory, parsed
const chunks = new Map(); // number -> promise of { pictures, details }

// The picture (a data: URL) and the details of the image at a place of the index.
async function imageAt(place) {
  const number = Math.floor(place / index.chunk);
  if (!chunks.has(number)) {
    const reading = readChunk(number);
    chunks.set(number, reading);
    reading.catch(() => chunks.delete(number)); // asked for again, it is read again
    if (chunks.size > KEPT) chunks.delete(chunks.keys().next().value);
  }
  const chunk = await chunks.get(number);
  const within = place % index.chunk;
  return { picture: `data:image/jpeg;base64,${chunk.pictures[within]}`, detail: chunk.details[within] };
}

async function readChunk(number) {
  const chunk = live ? await fetched(`chunk/${number}.json?v=${version}`) : JSON.parse(await embedded(number));
  return { pictures: chunk.pictures, details: JSON.parse(await inflated(chunk.details)) };
}

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// The text of a chunk in this page. While the browser still reads the page, its end may be missing.
async function embedded(number) {
  for (;;) {
    const found = document.getElementById(`chunk-${number}`);
    if (found && (found.nextElementSibling || document.readyState !== "loading")) return found.textContent;
    if (document.readyState !== "loading") throw new Error(`this page has no chunk ${number}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

// A picture that can be drawn.
function loaded(url) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a photograph cannot be shown"));
    image.src = url;
  });
}

// COCO's compressed run lengths, background first: six bits a character, each run from the fourth on the difference to
// the one before the previous one.
function runLengths(text) {
  const runs = [];
  for (let i = 0; i < text.length; ) {
    let value = 0, shift = 0, code;
    do {
      code = text.charCodeAt(i++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) value |= -1 << shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

// A mask as bytes 0 and 1, row after row, with a border of zeros: (h + 2) x (w + 2). Runs go down the columns.
function padded(text, height, width) {
  const mask = new Uint8Array((height + 2) * (width + 2));
  let place = 0, value = 0;
  for (const run of runLengths(text)) {
    if (value) {
      for (let i = place; i < place + run; i++) {
        mask[((i % height) + 1) * (width + 2) + Math.floor(i / height) + 1] = 1;
      }
    }
    place += run;
    value = 1 - value;
  }
  return mask;
}

// The outline of a mask as a path in its pixels, with its box and area. It passes through the middles of the edges
// between inside and outside, so that it is smooth when it is enlarged.
function traced(text, height, width) {
  const mask = padded(text, height, width), stride = width + 2;
  const STEP = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right along an upper edge, down a right one, left, up
  const leaving = new Uint8Array(stride * (height + 2)); // bit d: an edge leaves this corner in direction d
  let area = 0, box = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = (y + 1) * stride + x + 1;
      if (!mask[here]) continue;
      area++;
      box = [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x + 1), Math.max(box[3], y + 1)];
      if (!mask[here - stride]) leaving[y * stride + x] |= 1;
      if (!mask[here + 1]) leaving[y * stride + x + 1] |= 2;
      if (!mask[here + stride]) leaving[(y + 1) * stride + x + 1] |= 4;
      if (!mask[here - 1]) leaving[(y + 1) * stride + x] |= 8;
    }
  }
  const path = new Path2D();
  for (let corner = 0; corner < leaving.length; corner++) {
    while (leaving[corner]) addLoop(path, leaving, corner, stride, STEP);
  }
  return { path, area, box };
}

// Walks one closed loop of edges from a corner, taking them away; of two ways on it takes the right one.
function addLoop(path, leaving, start, stride, STEP) {
  const middles = [];
  let corner = start, direction = [0, 1, 2, 3].find((d) => leaving[corner] & (1 << d));
  do {
    leaving[corner] &= ~(1 << direction);
    const x = corner % stride, y = Math.floor(corner / stride);
    middles.push([x + STEP[direction][0] / 2, y + STEP[direction][1] / 2, direction]);
    corner += STEP[direction][0] + stride * STEP[direction][1];
    direction = [1, 0, 3].map((turn) => (direction + turn) % 4).find((d) => leaving[corner] & (1 << d));
  } while (direction !== undefined && corner !== start);
  middles.forEach(([x, y, d], i) => {
    const before = middles[(i + middles.length - 1) % middles.length][2], after = middles[(i + 1) % middles.length][2];
    if (i && before === d && after === d) return; // on a straight line
    if (i) path.lineTo(x, y);
    else path.moveTo(x, y);
  });
  path.closePath();
}
