"use strict";
// Strokes, and the sketches that the model sees. A stroke is a list of points [x, y] in image widths, y downwards.

const SKETCH_STYLE = { line_width: 0.055, ink: 0.17, paper: 0.85 }; // near the middle of the world's ranges
const [FACTOR_X, , FACTOR_SIZE] = WORLD.contentFactors;
const MARGIN = 0.01; // kept from the ends of the ranges of position and size, in image widths

/** Return the strokes that outline a shape of the world; `angle` is in radians. */
function outlineShape(name, x, y, size, angle) {
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
  const azimuths = Array.from({ length: 65 }, (_, k) => (2 * Math.PI * k) / 64);
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
  return strokes.map((stroke) => stroke.map((point) => point.map((value, k) => center[k] + scale * (value - middle[k]))));
}

function squaredDistance(x, y, [ax, ay], [bx, by]) {
  const dx = bx - ax, dy = by - ay;
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const part = Math.min(Math.max(along, 0), 1);
  return (x - ax - part * dx) ** 2 + (y - ay - part * dy) ** 2;
}

/** Render strokes as munit_lite/world.py renders outlines: an image in [-1, 1] of the given size in pixels. */
function renderSketch(strokes, size = 32, { line_width: lineWidth, ink, paper } = SKETCH_STYLE) {
  const plane = size * size;
  const data = new Float64Array(3 * plane);
  for (let k = 0; k < plane; k++) {
    const x = ((k % size) + 0.5) / size, y = (Math.floor(k / size) + 0.5) / size;
    let least = Infinity;
    for (const stroke of strokes) {
      for (let n = 0; n < stroke.length; n++) {
        least = Math.min(least, squaredDistance(x, y, stroke[Math.max(n - 1, 0)], stroke[n]));
      }
    }
    const cover = Math.min(Math.max(0.5 - (Math.sqrt(least) - lineWidth / 2) * size, 0), 1);
    const gray = 2 * (paper + (ink - paper) * cover) - 1;
    data[k] = data[k + plane] = data[k + 2 * plane] = gray;
  }
  return { data, channels: 3, height: size, width: size };
}
