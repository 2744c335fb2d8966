"use strict";
// Pictures of the page: images of the model, { data, channels, height, width } in [-1, 1], on canvases and from files.

const [TILE, GAP] = [64, 4]; // in pixels
const DOMAIN_NAMES = ["sketch", "painting"];

const repeat = (count, make) => Array.from({ length: count }, (_, k) => make(k));
const makeImage = (values) => ({ data: Float64Array.from(values), channels: 3, height: 32, width: 32 });

/** Show an image on a canvas, which takes its size. */
function showImage(canvas, { data, height, width }) {
  [canvas.width, canvas.height] = [width, height];
  const pixels = new ImageData(width, height);
  for (let k = 0; k < height * width; k++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * k + c] = Math.round((data[c * height * width + k] + 1) * 127.5);
    pixels.data[4 * k + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}

/** Tile rows of images on white and encode them as PNG; the first `large` rows are four times as large. */
async function toPng(rows, large = 0) {
  const sides = rows.map((_, k) => (k < large ? 4 * TILE : TILE));
  const gaps = sides.map((_, k) => (k < large ? 2 * GAP : GAP));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(...rows.map((images, k) => images.length * (sides[k] + GAP) - GAP));
  canvas.height = sides.reduce((sum, side, k) => sum + side + gaps[k], 0) - gaps.at(-1);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  const small = document.createElement("canvas");
  let y = 0;
  rows.forEach((images, k) => {
    images.forEach((image, n) => {
      if (image) {
        showImage(small, image);
        context.drawImage(small, n * (sides[k] + GAP), y, sides[k], sides[k]);
      }
    });
    y += sides[k] + gaps[k];
  });
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve); });
  return blob.arrayBuffer();
}

/** Read the center square of an image file as an image of a domain; throws an error with a message for the reader. */
async function readUpload(file, bytes, domain) {
  const bitmap = await createImageBitmap(new Blob([bytes])).catch(() => {
    throw new Error(`${file} cannot be read as an image`);
  });
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const side = Math.min(bitmap.width, bitmap.height), context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, 32, 32);
  const { data: pixels } = context.getImageData(0, 0, 32, 32);
  const channels = [0, 1, 2].map((c) => repeat(1024, (k) => pixels[4 * k + c] / 127.5 - 1));
  const spread = channels[0].map((_, k) => {
    const colors = channels.map((channel) => channel[k]);
    return Math.max(...colors) - Math.min(...colors);
  });
  const gray = spread.reduce((sum, value) => sum + value) / 1024 < 0.05;
  if (gray !== (domain === 1)) {
    const name = DOMAIN_NAMES[domain - 1], [has, should] = gray ? ["no colors", "has some"] : ["colors", "has none"];
    const advice = `choose the other direction, or an image that looks like a ${name}`;
    throw new Error(`${file} has ${has}, but a ${name} ${should}: ${advice}`);
  }
  return makeImage(channels.flat());
}
