"use strict";
// Strokes, and images of the known world from them. A stroke is a list of points [x, y] in image widths, y downwards.

const SKETCH_STYLE = { line_width: 0.055, ink: 0.17, paper: 0.85 }; // near the middle of the world's ranges
const [FACTOR_X, , FACTOR_SIZE] = WORLD.contentFactors;
const MARGIN = 0.01; // kept from the ends of the ranges of position and size, in image widths

/** Return the closed strokes that outline a shape of the world; `angle` is in radians. */
function outlineShape({ name, x, y, size, angle }) {
  const shape = WORLD.shapes.find((candidate) => candidate.name === name);
  const place = ([radius, azimuth]) => [
    x + size * radius * Math.cos(azimuth + angle), y + size * radius * Math.sin(azimuth + angle),
  ];
  if (shape.corners.length) {
    const polar = shape.corners.map(([u, v]) => [Math.hypot(u, v), Math.atan2(v, u)]); // in half a wedge
    const wedge = [...polar.map(([radius, azimuth]) => [radius, -azimuth]).reverse(), ...polar];
    const turned = (k) => wedge.map(([radius, azimuth]) => [radius, azimuth + (2 * Math.PI * k) / shape.symmetry]);
    const corners = Array.from({ length: shape.symmetry }, (_, k) => turned(k)).flat();
    return [[...corners, corners[0]].map(place)];
  }
  const radii = [shape.radius + shape.half_width, shape.radius - shape.half_width].filter((radius) => radius > 0);
  const azimuths = Array.from({ length: 181 }, (_, k) => (2 * Math.PI * k) / 180);
  return radii.map((radius) => azimuths.map((azimuth) => place([radius, azimuth])));
}

/** Move and scale a drawing as little as needed, so that its position and size are among those of the world. */
function fitStrokes(strokes) {
  const points = strokes.flat();
  const middle = [0, 1].map((k) => {
    const values = points.map((point) => point[k]);
    return (Math.min(...values) + Math.max(...values)) / 2;
  });
  const radius = Math.max(...points.map((point) => Math.hypot(point[0] - middle[0], point[1] - middle[1])), 1e-3);
  const clamp = (value, factor) => Math.min(Math.max(value, factor.low + MARGIN), factor.high - MARGIN);
  const scale = clamp(radius, FACTOR_SIZE) / radius;
  const center = middle.map((value) => clamp(value, FACTOR_X)); // y has the range of x
  const fit = (point) => point.map((value, k) => center[k] + scale * (value - middle[k]));
  return strokes.map((stroke) => stroke.map(fit));
}

function squaredDistance(x, y, [ax, ay], [bx, by]) {
  const dx = bx - ax, dy = by - ay;
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const part = Math.min(Math.max(along, 0), 1);
  return (x - ax - part * dx) ** 2 + (y - ay - part * dy) ** 2;
}

/**
 * Make an image in [-1, 1] of size × size pixels from `paint(x, y, distance)`, which returns three colors in [0, 1]. The
 * distance is that of the pixel's center to the strokes, negative inside closed ones, in image widths.
 */
function renderImage(strokes, size, paint) {
  const plane = size * size;
  const data = new Float64Array(3 * plane);
  for (let k = 0; k < plane; k++) {
    const x = ((k % size) + 0.5) / size, y = (Math.floor(k / size) + 0.5) / size;
    let least = Infinity, inside = false;
    for (const stroke of strokes) {
      for (let n = 0; n < stroke.length; n++) {
        const from = stroke[Math.max(n - 1, 0)], to = stroke[n];
        least = Math.min(least, squaredDistance(x, y, from, to));
        if ((from[1] > y) !== (to[1] > y)) {
          const crossing = from[0] + ((y - from[1]) / (to[1] - from[1])) * (to[0] - from[0]);
          if (x < crossing) inside = !inside;
        }
      }
    }
    const colors = paint(x, y, inside ? -Math.sqrt(least) : Math.sqrt(least));
    for (let c = 0; c < 3; c++) data[c * plane + k] = 2 * colors[c] - 1;
  }
  return { data, channels: 3, height: size, width: size };
}

const clampToUnit = (value) => Math.min(Math.max(value, 0), 1);

/** Render strokes as the sketches of munit_lite/world.py. */
function renderSketch(strokes, size = 32, { line_width: lineWidth, ink, paper } = SKETCH_STYLE) {
  return renderImage(strokes, size, (x, y, distance) => {
    const cover = clampToUnit(0.5 - (Math.abs(distance) - lineWidth / 2) * size);
    return Array(3).fill(paper + (ink - paper) * cover);
  });
}

function hueToRgb(hue, saturation) {
  return [5, 3, 1].map((offset) => {
    const sixths = (hue * 6 + offset) % 6;
    return 1 - saturation * clampToUnit(Math.min(sixths, 4 - sixths));
  });
}

/** Render a placed shape { name, x, y, size, angle } as the paintings of munit_lite/world.py. */
function renderPainting(shape, size, { foreground_hue: foregroundHue, background_hue: backgroundHue, light }) {
  const foreground = hueToRgb(foregroundHue, 0.85);
  const background = hueToRgb(backgroundHue, 0.45).map((value) => 0.6 * value);
  return renderImage(outlineShape(shape), size, (x, y, distance) => {
    const cover = clampToUnit(0.5 - distance * size);
    const brightness = ((x - shape.x) * Math.cos(light) - (y - shape.y) * Math.sin(light)) / shape.size;
    return background.map((value, c) => value + (foreground[c] * (0.75 + 0.25 * brightness) - value) * cover);
  });
}
