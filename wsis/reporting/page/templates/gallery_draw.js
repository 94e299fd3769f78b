// Draws one panel: the photograph, and over it instances in the colours of their things, seeds and boxes.

const TEXT = 12; // pixels of a name, never smaller
const traces = new WeakMap(); // detail -> mask number -> its outline

function traceOf(detail, number) {
  if (!traces.has(detail)) traces.set(detail, new Map());
  const known = traces.get(detail);
  if (!known.has(number)) known.set(number, traced(detail.masks[number], ...detail.size));
  return known.get(number);
}

function colourOf(thing) {
  return index.colours[thing % index.colours.length];
}

function isLight([red, green, blue]) {
  return 0.3 * red + 0.59 * green + 0.11 * blue > 120;
}

function css([red, green, blue]) {
  return `rgb(${red},${green},${blue})`;
}

// Draws into a canvas that is `width` pixels wide on the page.
//   shown: { photo, detail, instances, boxes, seeds, outlines }: a picture or null, what chunks hold of the image, and
//     the lists to draw, each empty or left out
//   layers: { fill, line, text, photo } as true or false
function drawPanel(canvas, width, shown, layers) {
  const [height, across] = shown.detail ? shown.detail.size : [shown.photo.height, shown.photo.width];
  const sharp = window.devicePixelRatio || 1, scale = width / across;
  canvas.width = Math.round(width * sharp);
  canvas.height = Math.round(height * scale * sharp);
  const context = canvas.getContext("2d");
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  context.fillStyle = "#808080";
  context.fillRect(0, 0, width, height * scale);
  if (shown.photo && layers.photo) {
    context.imageSmoothingQuality = "high";
    context.drawImage(shown.photo, 0, 0, width, height * scale);
  }
  if (!shown.detail) return;
  const line = Math.max(1.5, Math.min(3, width / 220));
  const instances = (shown.instances || []).map(([mask, label, thing, score]) => ({
    ...traceOf(shown.detail, mask), label, thing, score,
  }));
  for (const one of [...instances].reverse()) tint(context, one, scale, layers);
  for (const one of [...instances].reverse()) if (layers.line) outline(context, one.path, colourOf(one.thing), scale, line);
  for (const [mask] of shown.outlines || []) dashed(context, traceOf(shown.detail, mask).path, scale, line);
  for (const [, ...box] of shown.boxes || []) rectangle(context, box, scale, line);
  for (const [label, x, y] of shown.seeds || []) cross(context, x * scale, y * scale, colourOf(label - 1), line);
  if (layers.text) names(context, instances, scale, width, height * scale);
}

function tint(context, one, scale, layers) {
  if (!layers.fill) return;
  context.save();
  context.scale(scale, scale);
  context.globalAlpha = 0.35;
  context.fillStyle = css(colourOf(one.thing));
  context.fill(one.path, "evenodd");
  context.restore();
}

// A line of the thing's colour within a wider one, black around a light colour and white around a dark one: one of the
// two is seen on any ground.
function outline(context, path, colour, scale, line) {
  stroked(context, path, scale, line + 2.4, isLight(colour) ? "#000" : "#fff");
  stroked(context, path, scale, line, css(colour));
}

function dashed(context, path, scale, line) {
  stroked(context, path, scale, 0.6 * line + 0.8, "#000");
  stroked(context, path, scale, 0.6 * line, "#fff", [5, 4]);
}

function stroked(context, path, scale, width, style, dash = []) {
  context.save();
  context.scale(scale, scale);
  context.lineJoin = "round";
  context.lineWidth = width / scale;
  context.setLineDash(dash.map((one) => one / scale));
  context.strokeStyle = style;
  context.stroke(path);
  context.restore();
}

function rectangle(context, [x1, y1, x2, y2], scale, line) {
  const path = new Path2D();
  path.rect(x1, y1, x2 - x1, y2 - y1);
  stroked(context, path, scale, line + 1.6, "#000");
  stroked(context, path, scale, line, "#fff");
}

function cross(context, x, y, colour, line) {
  const path = new Path2D(), arm = 3 + 2 * line;
  path.moveTo(x - arm, y);
  path.lineTo(x + arm, y);
  path.moveTo(x, y - arm);
  path.lineTo(x, y + arm);
  outline(context, path, colour, 1, line);
}

// Names on plates: on a large instance, else beside it; where every place would hide another small thing, none.
function names(context, instances, scale, width, height) {
  context.font = `600 ${TEXT}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const taken = [];
  for (const one of instances.filter(({ area }) => area)) {
    const text = nameOf(one.label) + (one.score === null ? "" : ` ${one.score.toFixed(2)}`);
    const plate = placed(context.measureText(text).width + 8, TEXT + 5, one, instances, taken, scale, width, height);
    if (!plate) continue;
    taken.push(plate);
    const colour = colourOf(one.thing);
    context.fillStyle = css(colour);
    context.fillRect(...plate);
    context.fillStyle = isLight(colour) ? "#000" : "#fff";
    context.fillText(text, plate[0] + 4, plate[1] + 3);
  }
}

const HIDDEN = 0.3; // most of a thing's box that a name may cover

function placed(wide, high, one, instances, taken, scale, width, height) {
  const [x1, y1, x2, y2] = one.box.map((side) => side * scale), middle = (x1 + x2 - wide) / 2;
  const places = [
    [middle, y1 + (y2 - y1) / 8], [middle, y1 - high - 2], [middle, y2 + 2], [x2 + 2, y1], [x1 - wide - 2, y1],
    [x1, y1 - high - 2], [x2 - wide, y2 + 2], [x2 + 2, y2 - high], [x1 - wide - 2, y2 - high],
  ];
  let best = null, least = Infinity;
  places.forEach(([left, top], number) => {
    const x = Math.min(Math.max(left, 0), width - wide), y = Math.min(Math.max(top, 0), height - high);
    const plate = [x, y, wide, high];
    if (x < 0 || y < 0 || taken.some((other) => common(plate, other) > 0)) return;
    const hidden = instances.map((thing) => {
      const [a, b, c, d] = thing.box.map((side) => side * scale);
      return common(plate, [a, b, c - a, d - b]) / Math.max(1, (c - a) * (d - b));
    });
    const cost = hidden.reduce((sum, share) => sum + share, 0) + 0.02 * number;
    if (Math.max(0, ...hidden) <= HIDDEN && cost < least) [best, least] = [plate, cost];
  });
  return best;
}

function common([x, y, w, h], [a, b, c, d]) {
  return Math.max(0, Math.min(x + w, a + c) - Math.max(x, a)) * Math.max(0, Math.min(y + h, b + d) - Math.max(y, b));
}

function nameOf(label) {
  return index.classes[label - 1] ?? `class ${label}`;
}
