"use strict";
// The program of the page: it computes the network for an image and shows each step.
//
//   1. The network: its layers, from the weights that the file holds
//   2. The image: resizing, drawing, photos
//   3. Texts, numbers and pictures
//   4. What is shown, from top to bottom
//   5. What the reader does

const $ = id => document.getElementById(id);
const TEXTS = JSON.parse($("texts").textContent);
const SIDE = 28; // of the images that the reader gives

// ------------------------------------------------------------------- 1. The network
// What a layer gives out has a shape [channels, height, width] and lies in one array,
// row by row, channel by channel. A vector is an image of one pixel with many channels.

function decode(text, Type) {
  const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
  return new Type(bytes.buffer);
}

function load(data) {
  let input = [1, ...data.size];
  let field = {size: [1, 1], step: [1, 1], start: [0, 0]};
  for (const layer of data.layers) {
    const [channels, height = 1, width = 1] = layer.shape;
    Object.assign(layer, {input, dims: layer.shape, shape: [channels, height, width]});
    layer.field = field = layer.kernel ? widen(field, layer) : field;
    for (const name of ["factor", "bias", "mean", "std", "scale", "shift"])
      if (layer[name]) layer[name] = decodeNumbers(layer[name], Float32Array, channels);
    if (layer.weight) {
      const length = input[0] * layer.kernel[0] * layer.kernel[1];
      const whole = decodeNumbers(layer.weight, Int16Array, channels * length);
      layer.weight = Float32Array.from(
        whole, (n, i) => n * layer.factor[Math.floor(i / length)]);
      // the same, what belongs to one number of the window side by side
      layer.columns = layer.weight.map(
        (_, i) => layer.weight[i % channels * length + Math.floor(i / channels)]);
    }
    input = layer.shape;
  }
  data.images = decodeNumbers(data.images, Uint8Array, data.labels.length * SIDE ** 2);
  return data;
}

function decodeNumbers(text, Type, length) {
  const numbers = decode(text, Type);
  if (numbers.length !== length) throw Error(`${numbers.length} ≠ ${length}`);
  return numbers;
}

// How much of the image a unit sees (chapter 2): size is r, step is d, and start is
// where the first unit begins to see, all in pixels down and across.
function widen({size, step, start}, {kernel, stride, padding}) {
  return {
    size: size.map((r, k) => r + (kernel[k] - 1) * step[k]),
    step: step.map((d, k) => d * stride[k]),
    start: start.map((s, k) => s - padding[k] * step[k]),
  };
}

// Copies the window of one channel that the unit at (row, column) reads into `window`,
// from place `at` on. Outside the image stands `outside`.
function readWindow(layer, x, channel, row, column, window, at, outside) {
  const [, height, width] = layer.input, [high, wide] = layer.kernel;
  const top = row * layer.stride[0] - layer.padding[0];
  const left = column * layer.stride[1] - layer.padding[1];
  for (let i = top; i < top + high; i++)
    for (let j = left; j < left + wide; j++) {
      const inside = i >= 0 && i < height && j >= 0 && j < width;
      window[at++] = inside ? x[(channel * height + i) * width + j] : outside;
    }
}

// Convolution, and linear layer: windows of all channels times the kernels. Many
// numbers are 0, after ReLU, and add nothing.
function weightedSums(layer, x) {
  const [channels, height, width] = layer.shape, {columns, bias} = layer;
  const size = layer.kernel[0] * layer.kernel[1];
  const window = new Float32Array(layer.input[0] * size);
  const sums = new Float64Array(channels);
  const y = new Float32Array(channels * height * width);
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      for (let c = 0; c < layer.input[0]; c++)
        readWindow(layer, x, c, row, column, window, c * size, 0);
      sums.fill(0);
      for (let i = 0; i < window.length; i++) {
        const value = window[i], begin = i * channels;
        if (value !== 0)
          for (let c = 0; c < channels; c++) sums[c] += value * columns[begin + c];
      }
      for (let c = 0; c < channels; c++)
        y[(c * height + row) * width + column] = sums[c] + (bias ? bias[c] : 0);
    }
  return y;
}

function pool(layer, x) {
  const [channels, height, width] = layer.shape;
  const y = new Float32Array(channels * height * width);
  const window = new Float32Array(layer.kernel[0] * layer.kernel[1]);
  for (let c = 0, i = 0; c < channels; c++)
    for (let row = 0; row < height; row++)
      for (let column = 0; column < width; column++, i++) {
        readPoolWindow(layer, x, c, row, column, window);
        if (layer.kind === "MaxPool2d") y[i] = window.reduce((a, b) => Math.max(a, b));
        else y[i] = window.reduce((a, b) => a + b) / window.length;
      }
  return y;
}

function readPoolWindow(layer, x, channel, row, column, window) {
  const outside = layer.kind === "MaxPool2d" ? -Infinity : 0;
  readWindow(layer, x, channel, row, column, window, 0, outside);
}

function normalise({mean, std, scale, shift}, x) {
  const size = x.length / mean.length; // of a channel
  return x.map((value, i) => {
    const c = Math.floor(i / size);
    return (value - mean[c]) / std[c] * scale[c] + shift[c];
  });
}

const same = (layer, x) => x;
const COMPUTE = {
  Conv2d: weightedSums, Linear: weightedSums, BatchNorm2d: normalise,
  ReLU: (layer, x) => x.map(value => value < 0 ? 0 : value), // nan stays nan
  MaxPool2d: pool, AvgPool2d: pool, AdaptiveAvgPool2d: pool,
  Flatten: same, Dropout: same,
};

// [image, what the first layer gives out, ..., scores]
function forward(image) {
  const outputs = [image];
  for (const layer of DATA.layers)
    outputs.push(COMPUTE[layer.kind](layer, outputs.at(-1)));
  return outputs;
}

const scoresOf = pixels => forward(resize(pixels)).at(-1);

function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = Array.from(scores, score => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map(power => power / sum);
}

// The head: all that follows the last maps. Every layer in it is linear where it
// stands, so a score is the sum of what the channels of these maps push it by, and of
// what the biases of the head give.
function lastMaps() {
  const linear = ["Linear", "ReLU", "Dropout", "Flatten", "AdaptiveAvgPool2d"];
  let i = DATA.layers.length;
  for (; i > 0; i--) {
    const {kind, dims} = DATA.layers[i - 1];
    const isHead = dims.length === 1 || kind === "AdaptiveAvgPool2d";
    if (!linear.includes(kind) || !isHead) break;
  }
  return i; // their place in outputs
}

function pushesOf(score, outputs) {
  const end = lastMaps();
  let slope = new Float32Array(outputs.at(-1).length); // of the score
  slope[score] = 1;
  for (let i = DATA.layers.length; i > end; i--) {
    const {kind, weight} = DATA.layers[i - 1], x = outputs[i - 1];
    if (kind === "ReLU") slope = slope.map((s, j) => x[j] > 0 ? s : 0);
    if (kind === "AdaptiveAvgPool2d") {
      const size = x.length / slope.length, means = slope;
      slope = x.map((_, j) => means[Math.floor(j / size)] / size);
    }
    if (kind === "Linear") {
      const sums = new Float32Array(x.length);
      slope.forEach((s, k) => sums.forEach((_, j) => {
        sums[j] += s * weight[k * x.length + j];
      }));
      slope = sums;
    }
  }
  const [channels] = end ? DATA.layers[end - 1].shape : [1];
  const pushes = new Float32Array(channels), size = slope.length / channels;
  slope.forEach((s, j) => { pushes[Math.floor(j / size)] += s * outputs[end][j]; });
  return pushes;
}

// ------------------------------------------------------------------- 2. The image

// As PyTorch does it with bytes (bilinear, antialias), to the last bit: each side has
// weights that are rounded to whole numbers, and each pass gives whole greys.
function resizeWeights(from, to) {
  const scale = from / to, reach = Math.max(scale, 1), rows = [];
  for (let i = 0; i < to; i++) {
    const centre = scale * (i + 0.5);
    const first = Math.max(Math.floor(centre - reach + 0.5), 0);
    const last = Math.min(Math.floor(centre + reach + 0.5), from);
    const weights = [];
    for (let j = first; j < last; j++)
      weights.push(Math.max(0, 1 - Math.abs((j - centre + 0.5) / reach)));
    const sum = weights.reduce((a, b) => a + b);
    rows.push({first, weights: weights.map(w => w / sum)});
  }
  const largest = Math.max(...rows.flatMap(row => row.weights));
  let bits = 0;
  while (bits < 22 && Math.floor(0.5 + largest * 2 ** (bits + 1)) < 2 ** 15) bits++;
  for (const row of rows)
    row.weights = row.weights.map(w => Math.floor(0.5 + w * 2 ** bits));
  return {rows, unit: 2 ** bits};
}

// Resizes each row of pixels, and lays the results out as columns: twice is once.
function resizeRows(pixels, from, to) {
  const {rows, unit} = resizeWeights(from, to), height = pixels.length / from;
  const out = new Uint8Array(height * to);
  rows.forEach(({first, weights}, i) => {
    for (let row = 0; row < height; row++) {
      let sum = unit / 2;
      weights.forEach((w, j) => { sum += w * pixels[row * from + first + j]; });
      out[i * height + row] = Math.min(255, Math.floor(sum / unit));
    }
  });
  return out;
}

// 28x28 greys, 0 to 255, as the network reads them: in its size, 0 to 1.
function resize(pixels) {
  const [height, width] = DATA.size;
  const resized = resizeRows(resizeRows(pixels, SIDE, width), SIDE, height);
  return Float32Array.from(resized, grey => grey / 255);
}

const mirrored = pixels =>
  pixels.map((_, i) => pixels[i - i % SIDE + SIDE - 1 - i % SIDE]);

const shifted = (pixels, down, right) => pixels.map((_, i) => {
  const row = Math.floor(i / SIDE) - down, column = i % SIDE - right;
  const inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE;
  return inside ? pixels[row * SIDE + column] : 0;
});

// A brush of two pixels with a soft rim; the eraser takes a little more.
function dab(pixels, row, column, erase) {
  for (let i = 0; i < pixels.length; i++) {
    const distance = Math.hypot(Math.floor(i / SIDE) - row, i % SIDE - column);
    if (erase && distance < 1.5) pixels[i] = 0;
    if (!erase && distance < 1.9)
      pixels[i] = Math.max(pixels[i], distance < 1.2 ? 255 : 130);
  }
}

// A photo becomes what the network knows: a bright thing on black.
async function readPhoto(file) {
  const photo = await createImageBitmap(file);
  const canvas = document.createElement("canvas"), fine = 8; // averaged 8 by 8
  canvas.width = canvas.height = SIDE * fine;
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // where it is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  const side = Math.min(photo.width, photo.height);
  const left = (photo.width - side) / 2, top = (photo.height - side) / 2;
  context.drawImage(photo, left, top, side, side, 0, 0, canvas.width, canvas.height);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  let greys = new Float32Array(SIDE ** 2);
  for (let i = 0; i < data.length / 4; i++) {
    const row = Math.floor(i / canvas.width / fine);
    const column = Math.floor(i % canvas.width / fine);
    const grey = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
    greys[row * SIDE + column] += grey / fine ** 2;
  }
  const inverted = background(greys) > 127;
  if (inverted) greys = greys.map(grey => 255 - grey);
  const black = background(greys), range = Math.max(...greys) - black || 1;
  const pixels = Uint8Array.from(greys, grey =>
    Math.round(Math.min(1, Math.max(0, (grey - black) / range)) * 255));
  return {pixels, inverted};
}

// The median of the outermost pixels.
function background(greys) {
  const rim = greys.filter((_, i) =>
    i < SIDE || i >= SIDE * (SIDE - 1) || i % SIDE === 0 || i % SIDE === SIDE - 1);
  return rim.sort()[rim.length / 2];
}

// ------------------------------------------------------- 3. Texts, numbers, pictures

function say(key, values = {}) {
  return TEXTS[state.lang][key].replace(/{(\w+)}/g, (_, name) => values[name]);
}

const className = i => TEXTS[state.lang].classes[DATA.classes[i]] ?? DATA.classes[i];
const kindName = kind => TEXTS[state.lang].kinds[kind][0];

function number(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.01 ? 2 : 4;
  return (value === 0 ? "0" : value.toFixed(digits)).replace("-", "−");
}

function inGrid(value) {
  if (value === -Infinity) return ""; // outside the image
  return value === 0 ? "0" : value.toFixed(2).replace("-0.00", "0.00").replace("-", "−");
}

const percent = chance => `${(100 * chance).toFixed(chance < 0.0995 ? 1 : 0)}%`;
const shapeText = dims => dims.join(" × ");

// Sets a text only where it changes: a screen reader reads out what is set.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// The child of box with this class; it is made where it is missing.
function part(box, tag, name) {
  let child = box.querySelector(`:scope > .${name}`);
  if (!child) {
    child = box.appendChild(document.createElement(tag));
    child.className = name;
  }
  return child;
}

const VIOLET = [84, 39, 136], WHITE = [247, 247, 247], ORANGE = [179, 88, 6];

// From -1 (violet) over 0 (white) to 1 (orange), as the chapters draw filters.
function signedColor(value) {
  const end = value < 0 ? VIOLET : ORANGE, share = Math.min(1, Math.abs(value));
  return WHITE.map((white, k) => Math.round(white + share * (end[k] - white)));
}

function scaleOf(values) {
  let low = 0, high = 0;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return {signed: low < 0, largest: Math.max(high, -low) || 1, gamma: 0.6};
}

// Maps are brightened (gamma): else one large number would leave the others dark.
function paint(canvas, values, height, width, {signed, largest, gamma = 1}) {
  canvas.height = height;
  canvas.width = width;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    if (i >= values.length) break; // a grid may have places to spare
    const share = values[i] / largest, bright = 255 * Math.abs(share) ** gamma;
    image.data.set(signed ? signedColor(share) : [bright, bright, bright], 4 * i);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function mapOf(i, channel) {
  const [, height, width] = DATA.layers[i].shape, size = height * width;
  return outputs[i + 1].subarray(channel * size, (channel + 1) * size);
}

function strengths(i) {
  const [channels, height, width] = DATA.layers[i].shape;
  return Array.from({length: channels}, (_, channel) =>
    mapOf(i, channel).reduce((sum, value) => sum + Math.abs(value), 0) / height / width);
}

function strongestFirst(values) {
  return values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
}

// A box of buttons of which one is chosen. The tab key stops once; arrows choose. On a
// small screen, what a choice opens may lie further down: a click brings it into view.
function radios(box, count, fill, chosen, choose, opens) {
  box.choose = choose;
  if (!box.onclick) {
    const index = event =>
      [...box.children].indexOf(event.target.closest("[role=radio]"));
    box.onclick = event => {
      if (index(event) < 0) return; // between the buttons
      box.choose(index(event));
      if (opens) bringIntoView(opens);
    };
    box.onkeydown = event => {
      const last = box.children.length - 1, i = index(event);
      const next = {
        ArrowRight: i + 1, ArrowDown: i + 1, ArrowLeft: i - 1, ArrowUp: i - 1,
        Home: 0, End: last,
      }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      const wrapped = next < 0 ? last : next > last ? 0 : next;
      box.choose(wrapped);
      box.children[wrapped].focus();
    };
  }
  while (box.children.length > count) box.lastChild.remove();
  for (let i = 0; i < count; i++) {
    const button = box.children[i] ?? box.appendChild(document.createElement("button"));
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", i === chosen);
    button.tabIndex = i === Math.max(chosen, 0) ? 0 : -1;
    fill(button, i);
  }
}

function bringIntoView(section) {
  const {top} = section.getBoundingClientRect();
  if (top < 0 || top > 0.7 * innerHeight) section.scrollIntoView();
}

// ------------------------------------------------- 4. What is shown, top to bottom

const state = {
  lang: "en",
  pixels: null, // 28x28 greys
  example: null, // which test image they are, unchanged
  label: null, // its class, where it is known
  erase: false,
  cursor: [14, 14], // where the keyboard draws
  score: null, // the chosen one; null is the highest
  layer: 0,
  unit: [0, 0, 0], // channel, row, column of the number that is explained
  input: null, // the input channel whose kernel is shown; null is the strongest
};
let DATA, outputs, places, milliseconds, waiting = false;

// The parts of the network that a reader sees: its children, as chapter 2 prints them.
function findPlaces() {
  let blocks = 0;
  return DATA.children.map((kind, child) => {
    const inside = DATA.layers.flatMap(({name}, i) =>
      Number(name.split(".")[0]) === child ? [i] : []);
    return {kind, block: kind === "Sequential" ? ++blocks : 0, layers: inside};
  }).filter(place => place.layers.length);
}

const placeName = ({kind, block}) => block ? say("block", {n: block}) : kindName(kind);
const placeOf = i => places.find(place => place.layers.includes(i));

function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; compute(); show(); });
}

function compute() {
  const begin = performance.now();
  outputs = forward(resize(state.pixels));
  milliseconds = performance.now() - begin;
}

function show() {
  showImage();
  showScores();
  showPushes();
  showWay();
  showInside();
  showNumber();
  showMeasured();
}

function showTexts() {
  document.documentElement.lang = state.lang;
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", say(element.dataset.label));
  $("about").textContent = say("about", {weights: DATA.params.toLocaleString("en")});
  const languages = Object.keys(TEXTS);
  radios($("languages"), languages.length, (button, i) => {
    button.lang = languages[i];
    write(button, TEXTS[languages[i]].language);
  }, languages.indexOf(state.lang), i => {
    state.lang = languages[i];
    $("note").textContent = "";
    showTexts();
    show();
  });
}

function showImage() {
  const grey = {signed: false, largest: 255};
  radios($("gallery"), DATA.labels.length, (button, i) => {
    button.setAttribute("aria-label", `${className(DATA.labels[i])} ${i + 1}`);
    if (!button.firstChild)
      paint(part(button, "canvas", "map"), testImage(i), SIDE, SIDE, grey);
  }, state.example ?? -1, chooseExample);
  paint($("drawing"), state.pixels, SIDE, SIDE, grey);
  place($("drawing-cursor"), ...state.cursor, 1, 1, SIDE, SIDE);
}

const testImage = i => DATA.images.subarray(i * SIDE ** 2, (i + 1) * SIDE ** 2);

function showScores() {
  const chances = softmax(outputs.at(-1));
  const best = chances.indexOf(Math.max(...chances));
  const says = {name: className(best), chance: percent(chances[best])};
  write($("says"), say("says", says));
  const truth = state.label === null ? "own" : "truly";
  write($("truth"), say(truth, {name: className(state.label)}));
  radios($("scores"), chances.length, (button, i) => {
    bar(button, className(i), chances[i], percent(chances[i]));
    button.classList.toggle("best", i === best);
  }, chosenScore(), i => { state.score = i; show(); });
}

const chosenScore = () => state.score ?? outputs.at(-1).indexOf(Math.max(...outputs.at(-1)));

function bar(button, name, share, value) {
  write(part(button, "span", "name"), name);
  const filled = part(part(button, "span", "bar"), "span", "filled");
  filled.style.width = `${100 * share}%`;
  write(part(button, "span", "value"), value);
}

function showPushes() {
  const end = lastMaps();
  $("why").hidden = end === 0; // there are no maps, only the image
  if (end === 0) return;
  const k = chosenScore(), score = outputs.at(-1)[k], pushes = pushesOf(k, outputs);
  const sum = pushes.reduce((a, b) => a + b);
  $("pushes-heading").textContent = say("pushes", {name: className(k)});
  $("pushes-text").textContent = say("pushes_text", {
    place: placeName(placeOf(end - 1)), score: number(score), sum: number(sum),
    rest: number(score - sum),
  });
  const order = strongestFirst([...pushes].map(Math.abs)).slice(0, 6);
  const largest = Math.abs(pushes[order[0]]) || 1;
  const chosen = state.layer === end - 1 ? order.indexOf(state.unit[0]) : -1;
  radios($("pushes"), order.length, (button, i) => {
    const push = pushes[order[i]], way = push < 0 ? "down_by" : "up_by";
    const value = `${say(way)} ${number(Math.abs(push))}`;
    bar(button, say("channel", {n: order[i]}), Math.abs(push) / largest, value);
    button.classList.toggle("down", push < 0);
  }, chosen, i => chooseMap(end - 1, order[i]), $("number"));
}

// A layer's strongest map; of maps of one pixel each, all of them as a grid.
function paintLayer(canvas, i) {
  const [channels, height, width] = DATA.layers[i].shape;
  if (height * width === 1) {
    const columns = Math.ceil(Math.sqrt(channels)), y = outputs[i + 1];
    paint(canvas, y, Math.ceil(channels / columns), columns, scaleOf(y));
  } else {
    const map = mapOf(i, strongestFirst(strengths(i))[0]);
    paint(canvas, map, height, width, scaleOf(map));
  }
}

function showWay() {
  paint($("start"), outputs[0], ...DATA.size, {signed: false, largest: 1});
  $("start-shape").textContent = shapeText([1, ...DATA.size]);
  radios($("way"), places.length, (button, i) => {
    const last = places[i].layers.at(-1);
    paintLayer(part(button, "canvas", "map"), last);
    write(part(button, "span", "name"), placeName(places[i]));
    write(part(button, "span", "shape"), shapeText(DATA.layers[last].dims));
    const kinds = part(button, "span", "kinds");
    if (!kinds.firstChild)
      for (const layer of places[i].layers)
        kinds.appendChild(document.createElement("i")).dataset.kind =
          DATA.layers[layer].kind;
  }, places.indexOf(placeOf(state.layer)), i => chooseLayer(places[i].layers.at(-1)), $("inside"));
}

const MOST = 512; // maps that are shown at once

function showInside() {
  const inside = placeOf(state.layer), layer = DATA.layers[state.layer];
  $("inside-heading").textContent = say("inside", {place: placeName(inside)});
  radios($("layers"), inside.layers.length, (button, i) => {
    const {kind, dims} = DATA.layers[inside.layers[i]];
    button.dataset.kind = kind;
    write(part(button, "span", "name"), kindName(kind));
    write(part(button, "span", "shape"), shapeText(dims));
  }, inside.layers.indexOf(state.layer), i => chooseLayer(inside.layers[i]));
  $("tells").textContent = TEXTS[state.lang].kinds[layer.kind][1];

  const [channels, height, width] = layer.shape, scale = scaleOf(outputs[state.layer + 1]);
  const strong = strengths(state.layer), order = strongestFirst(strong).slice(0, MOST);
  const what = say(layer.dims.length === 1 ? "numbers" : "channels");
  $("maps-heading").textContent =
    say(channels > MOST ? "maps_some" : "maps", {n: channels, shown: MOST, what})
    + " " + say(scale.signed ? "signed" : "bright");
  radios($("maps"), order.length, (button, i) => {
    const mean = mapOf(state.layer, order[i]).reduce((a, b) => a + b) / height / width;
    const label = say("map", {channel: channelName(order[i]), mean: number(mean)});
    button.setAttribute("aria-label", label);
    button.title = label;
    const canvas = part(button, "canvas", "map");
    paint(canvas, mapOf(state.layer, order[i]), height, width, scale);
  }, order.indexOf(state.unit[0]), i => chooseMap(state.layer, order[i]), $("number"));
  // many maps are shown smaller
  const size = height * width === 1 ? 2.2 : 10 - 0.95 * Math.log2(order.length);
  $("maps").style.setProperty("--size", `${size}rem`);
}

// The numbers of the last layer are the classes' scores.
const channelName = channel =>
  state.layer === DATA.layers.length - 1 ? className(channel) : channel;

// --- one number

function showNumber() {
  const {layer, unit: [channel, row, column]} = state;
  const {shape: [channels, height, width], dims} = DATA.layers[layer];
  const value = number(mapOf(layer, channel)[row * width + column]);
  const large = $("large");
  $("number-hint").hidden = large.closest("figure").hidden = height * width === 1;
  paint(large, mapOf(layer, channel), height, width, scaleOf(mapOf(layer, channel)));
  place($("large-cursor"), row, column, 1, 1, height, width);
  $("large-caption").textContent = say("large_map", {channel});
  large.setAttribute("aria-label", say("large_map", {channel}));

  const isScore = layer === DATA.layers.length - 1;
  const what = isScore ? "unit_class" : dims.length === 1 ? "unit_vector" : "unit";
  const name = isScore && className(channel);
  write($("unit"), say(what, {channel, row, column, value, name, n: channels}));
  showFrame(...seenBy(layer, state.unit));
  showSteps();
}

// Puts an element over part of a picture of height by width.
function place(element, top, left, high, wide, height, width) {
  element.style.top = `${100 * top / height}%`;
  element.style.left = `${100 * left / width}%`;
  element.style.height = `${100 * high / height}%`;
  element.style.width = `${100 * wide / width}%`;
}

function showFrame(size, first) {
  const edges = [0, 1].map(k => {
    const from = Math.min(Math.max(0, first[k]), DATA.size[k] - 1);
    const length = Math.min(DATA.size[k], first[k] + size[k]) - from;
    return {from, length: Math.max(1, length)}; // a unit may see nothing but padding
  });
  const [{from: top, length: high}, {from: left, length: wide}] = edges;
  const scale = {signed: false, largest: 1}, [height, width] = DATA.size;
  paint($("input"), outputs[0], height, width, scale);
  place($("frame"), top, left, high, wide, height, width);
  const all = high === height && wide === width;
  const cut = size[0] > high || size[1] > wide;
  $("input-caption").textContent = say(
    all ? "frame_all" : cut ? "frame_cut" : "frame",
    {size: shapeText(size), inside: shapeText([high, wide])});
  const crop = outputs[0].filter((_, i) => {
    const row = Math.floor(i / width), column = i % width;
    return row >= top && row < top + high && column >= left && column < left + wide;
  });
  $("crop-figure").hidden = all;
  paint($("crop"), crop, high, wide, scale);
}

// [height and width, first row and column] of the pixels that a unit depends on.
function seenBy(i, unit) {
  while (i >= 0 && !DATA.layers[i].kernel) unit = sourceOf(i--, unit);
  if (i < 0) return [[1, 1], unit.slice(1)];
  if (DATA.layers[i].kind === "Linear") return [DATA.size, [0, 0]];
  const {size, step, start} = DATA.layers[i].field;
  return [size, start.map((s, k) => s + step[k] * unit[k + 1])];
}

// The unit of the layer before that this one is computed from, where it is one alone.
function sourceOf(i, [channel, row, column]) {
  const layer = DATA.layers[i], [, height, width] = layer.input;
  if (layer.kind === "Flatten") {
    const rest = channel % (height * width);
    return [Math.floor(channel / (height * width)), Math.floor(rest / width), rest % width];
  }
  if (layer.kind === "MaxPool2d") {
    const [high, wide] = layer.kernel, window = new Float32Array(high * wide);
    readPoolWindow(layer, outputs[i], channel, row, column, window);
    const winner = window.indexOf(Math.max(...window));
    return [channel,
      row * layer.stride[0] - layer.padding[0] + Math.floor(winner / wide),
      column * layer.stride[1] - layer.padding[1] + winner % wide];
  }
  return layer.kernel ? null : [channel, row, column];
}

// From the last sum of many numbers to the number itself, in the order of computing.
function showSteps() {
  const steps = [];
  for (let i = state.layer, unit = state.unit; unit && i >= 0; unit = sourceOf(i--, unit))
    steps.unshift([i, unit]);
  const focused = document.activeElement.id;
  $("steps").replaceChildren(...steps.map(([i, unit]) => step(i, unit)));
  if (focused === "input-channel") $("input-channel")?.focus();
}

const element = (tag, text = "", ...children) => {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
};

function step(i, [channel, row, column]) {
  const layer = DATA.layers[i], x = outputs[i], [, height, width] = layer.shape;
  const y = outputs[i + 1][(channel * height + row) * width + column];
  const item = element("li", "", element("h3", kindName(layer.kind)));
  item.dataset.kind = layer.kind;
  const tell = (key, values) => item.append(element("p", say(key, values)));
  const before = layer.kernel || x[(channel * height + row) * width + column];
  let sum = "";
  if (layer.kind === "Conv2d") {
    item.append(...convolutionStep(layer, x, channel, row, column));
  } else if (layer.kind === "Linear") {
    item.append(...linearStep(layer, x, channel));
  } else if (layer.kernel) {
    const window = new Float32Array(layer.kernel[0] * layer.kernel[1]);
    readPoolWindow(layer, x, channel, row, column, window);
    const isMax = layer.kind === "MaxPool2d";
    tell(isMax ? "max_sum" : "avg_sum");
    item.append(grids([say("window"), window, isMax && window.indexOf(y)], layer.kernel[1]));
  } else if (layer.kind === "BatchNorm2d") {
    const [mean, std, scale, shift] = ["mean", "std", "scale", "shift"].map(
      name => number(layer[name][channel]));
    tell("norm_sum", {mean, std, scale, shift});
    sum = `(${number(before)} − ${signed(mean)}) ÷ ${std} × ${signed(scale)} + ${signed(shift)}`;
  } else if (layer.kind === "ReLU") {
    tell("relu_sum");
    sum = `max(0, ${number(before)})`;
  } else if (layer.kind === "Flatten") {
    const [map, down, across] = sourceOf(i, [channel, row, column]);
    tell("flatten_sum", {channel: map, row: down, column: across});
  } else {
    tell("dropout_sum");
  }
  item.append(element("p", `${sum} = `, element("strong", number(y))));
  item.lastChild.className = "result";
  return item;
}

// A number in the middle of a formula.
const signed = text => text.startsWith("−") ? `(${text})` : text;

function convolutionStep(layer, x, channel, row, column) {
  const [inputs] = layer.input, size = layer.kernel[0] * layer.kernel[1];
  const windows = [], kernels = [], products = [], sums = [];
  for (let c = 0; c < inputs; c++) {
    windows.push(new Float32Array(size));
    readWindow(layer, x, c, row, column, windows[c], 0, 0);
    const begin = (channel * inputs + c) * size;
    kernels.push(layer.weight.subarray(begin, begin + size));
    products.push(windows[c].map((value, k) => value * kernels[c][k]));
    sums.push(products[c].reduce((a, b) => a + b));
  }
  const order = strongestFirst(sums.map(Math.abs));
  const c = state.input ?? order[0], parts = [];
  if (inputs > 1) {
    const select = element("select");
    select.id = "input-channel";
    for (const k of order) {
      const option = element("option", say("from_option", {channel: k, sum: number(sums[k])}));
      select.append(option);
      option.value = k;
    }
    select.value = c;
    select.onchange = () => { state.input = Number(select.value); showNumber(); };
    parts.push(element("label", `${say("from")} `, select));
  }
  parts.push(grids([say("window"), windows[c]], layer.kernel[1],
    ["×", say("kernel"), kernels[c]], ["=", say("products"), products[c]]));
  const sum = number(sums.reduce((a, b) => a + b));
  parts.push(element("p", say("conv_part", {part: number(sums[c])})
    + (inputs > 1 ? say("conv_all", {n: inputs, sum}) : "")
    + (layer.bias ? say("conv_bias", {bias: number(layer.bias[channel])}) : "")));
  return parts;
}

function linearStep(layer, x, channel) {
  const weights = layer.weight.subarray(channel * x.length, (channel + 1) * x.length);
  const products = x.map((value, j) => value * weights[j]);
  const order = strongestFirst([...products].map(Math.abs)).slice(0, 5);
  const rest = products.reduce((a, b) => a + b) - order.reduce((a, j) => a + products[j], 0);
  const rows = order.map(j => [`${say("linear_row")} ${j}`,
    `${number(x[j])} × ${signed(number(weights[j]))}`, number(products[j])]);
  rows.push([say("linear_rest"), "", number(rest)]);
  if (layer.bias) rows.push([say("linear_bias"), "", number(layer.bias[channel])]);
  const table = element("table", "", ...rows.map(row =>
    element("tr", "", ...row.map((text, k) => element(k ? "td" : "th", text)))));
  table.className = "sums";
  for (const th of table.querySelectorAll("th")) th.scope = "row";
  return [element("p", say("linear_sum", {n: x.length})), table];
}

// Tables of numbers side by side: name, values and the place of the marked one; before
// each but the first a sign.
function grids(first, columns, ...others) {
  const box = element("div");
  box.className = "grids";
  if (columns > 5) { // it may have to be scrolled
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", first[0]);
  }
  for (const [sign, name, values, marked] of [["", ...first], ...others]) {
    const table = element("table", "", element("caption", name)), {largest} = scaleOf(values);
    values.forEach((value, k) => {
      if (k % columns === 0) table.append(element("tr"));
      const cell = element("td", inGrid(value));
      const color = value < 0 ? VIOLET : ORANGE;
      const strength = Math.min(1, Math.abs(value) / largest) * 0.4;
      if (value) cell.style.background = `rgb(${color.join(" ")} / ${strength})`;
      if (k === marked) cell.className = "marked";
      table.lastChild.append(cell);
    });
    box.append(element("div", "", ...(sign ? [element("span", sign)] : []), table));
  }
  return box;
}

function showMeasured() {
  let text = say("computed", {ms: milliseconds.toFixed(0)});
  if (state.example !== null) {
    text += " " + say("same", {difference: difference().toFixed(5)});
    if (!isTorchs()) trouble(say("differs"));
  }
  write($("measured"), text);
}

// From torch's scores of a test image. A broken weight makes it large, or nan.
function difference() {
  const known = DATA.scores[state.example];
  return Math.max(...known.map((score, k) => Math.abs(score - outputs.at(-1)[k])));
}

const isTorchs = () => difference() < 0.01; // nan is not

function trouble(text) {
  $("trouble").hidden = false;
  write($("trouble"), text);
}

// ------------------------------------------------------------ 5. What the reader does

function chooseExample(i) {
  Object.assign(state, {example: i, label: DATA.labels[i], score: null});
  state.pixels = testImage(i).slice();
  $("note").textContent = "";
  changed();
}

// Other pixels; label is known where they are a test image that was only moved.
function change(pixels, label = null) {
  Object.assign(state, {pixels, label, example: null});
  changed();
}

function chooseLayer(i) {
  chooseMap(i, strongestFirst(strengths(i))[0]);
}

function chooseMap(i, channel) {
  const map = mapOf(i, channel), [, , width] = DATA.layers[i].shape;
  const highest = map.indexOf(Math.max(...map));
  const unit = [channel, Math.floor(highest / width), highest % width];
  Object.assign(state, {layer: i, unit, input: null});
  show();
}

// [row, column] of a picture of height by width that a pointer is on.
function pixelUnder(event, canvas) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientY - box.top) / box.height * canvas.height,
    (event.clientX - box.left) / box.width * canvas.width].map(Math.floor);
}

const ARROWS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
};

// The place [row, column] after an arrow key, in a picture of height by width.
function moved([row, column], key, height, width) {
  const [down, right] = ARROWS[key];
  return [Math.min(height - 1, Math.max(0, row + down)),
    Math.min(width - 1, Math.max(0, column + right))];
}

function drawTo(end, begin = end) {
  const pixels = state.pixels.slice();
  const steps = Math.max(1, ...end.map((e, k) => Math.abs(e - begin[k])));
  for (let n = 0; n <= steps; n++) {
    const at = end.map((e, k) => begin[k] + (e - begin[k]) * n / steps);
    dab(pixels, ...at, state.erase);
  }
  change(pixels);
}

function listenToDrawing() {
  const canvas = $("drawing");
  let last = null;
  canvas.onpointerdown = event => {
    canvas.setPointerCapture(event.pointerId);
    last = pixelUnder(event, canvas);
    drawTo(last);
  };
  canvas.onpointermove = event => {
    if (!last) return;
    const begin = last;
    last = pixelUnder(event, canvas);
    drawTo(last, begin);
  };
  canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
  canvas.onkeydown = event => {
    if (event.key === " ") drawTo(state.cursor);
    else if (event.key in ARROWS) state.cursor = moved(state.cursor, event.key, SIDE, SIDE);
    else return;
    event.preventDefault();
    const [row, column] = state.cursor;
    write($("note"), say("drawing_at", {row, column, value: state.pixels[row * SIDE + column]}));
    showImage();
  };
  canvas.onfocus = () => { $("drawing-cursor").hidden = !canvas.matches(":focus-visible"); };
  canvas.onblur = () => { $("drawing-cursor").hidden = true; };
}

function listenToTools() {
  for (const tool of ["brush", "eraser"])
    $(tool).onclick = () => {
      state.erase = tool === "eraser";
      $("brush").setAttribute("aria-pressed", !state.erase);
      $("eraser").setAttribute("aria-pressed", state.erase);
    };
  $("clear").onclick = () => change(new Uint8Array(SIDE ** 2));
  $("mirror").onclick = () => change(mirrored(state.pixels), state.label);
  const shifts = {up: [-1, 0], down: [1, 0], left: [0, -1], right: [0, 1]};
  for (const [id, [down, right]] of Object.entries(shifts))
    $(id).onclick = () => change(shifted(state.pixels, down, right), state.label);
  $("file").onchange = async event => {
    const [file] = event.target.files;
    event.target.value = ""; // the same file may be chosen again
    try {
      const {pixels, inverted} = await readPhoto(file);
      change(pixels);
      write($("note"), say("photo_done", {inverted: inverted ? say("photo_inverted") : ""}));
    } catch {
      write($("note"), say("photo_failed"));
    }
  };
}

function listenToLargeMap() {
  const canvas = $("large");
  const go = ([row, column]) => {
    state.unit = [state.unit[0], row, column];
    showNumber();
  };
  canvas.onpointermove = canvas.onpointerdown = event => {
    const [row, column] = pixelUnder(event, canvas);
    const inside = row >= 0 && row < canvas.height && column >= 0 && column < canvas.width;
    if (inside && (row !== state.unit[1] || column !== state.unit[2])) go([row, column]);
  };
  canvas.onkeydown = event => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    go(moved(state.unit.slice(1), event.key, canvas.height, canvas.width));
  };
}

function stop(text) {
  trouble(text);
  document.querySelector("main").hidden = true;
}

function start() {
  const data = JSON.parse($("data").textContent);
  document.documentElement.lang = state.lang = data.lang;
  try {
    DATA = load(data);
  } catch (error) {
    stop(say("damaged", {what: error.message}));
    return;
  }
  Object.assign(state, {pixels: testImage(0).slice(), example: 0, label: DATA.labels[0]});
  compute();
  if (!isTorchs()) {
    stop(say("differs"));
    return;
  }
  places = findPlaces();
  showTexts();
  chooseLayer(places[0].layers.at(-1));
  listenToDrawing();
  listenToTools();
  listenToLargeMap();
}

start();
