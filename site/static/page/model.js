"use strict";
// The networks of munit_lite/networks.py for one image at a time, with typed arrays and without the DOM.
//
// Plain loops are fast enough: a painting takes 25 million multiplications, about 20 ms on one core. onnxruntime-web
// (its smallest WebAssembly file has 14 MB) would not fit into the site, WebAssembly of our own would need a compiler,
// and WebGPU would need loops like these wherever a browser lacks it.
//
// Everything stands inside one function, because a page from file:// may not load a worker's script: workers.js
// starts its workers from the source of this function.
function defineModel() {
  // Images and feature maps are { data, channels, height, width }; the data, a Float64Array, are in the order channel,
  // row, column, as in torch. 32-bit numbers would be slower, because JavaScript would convert them each time.
  const makeMap = (channels, height, width) => ({
    data: new Float64Array(channels * height * width), channels, height, width,
  });

  /** Pad each side by reflection, as torch's mode="reflect" (the border itself is not repeated), or by zeros. */
  function pad(map, padding, reflect) {
    const { channels, height, width } = map;
    const padded = makeMap(channels, height + 2 * padding, width + 2 * padding);
    const inside = (k, size) => (k < 0 ? (reflect ? -k : -1) : k < size ? k : reflect ? 2 * (size - 1) - k : -1);
    let target = 0;
    for (let c = 0; c < channels; c++) {
      for (let y = -padding; y < height + padding; y++) {
        const row = inside(y, height);
        for (let x = -padding; x < width + padding; x++, target++) {
          const column = inside(x, width);
          if (row >= 0 && column >= 0) padded.data[target] = map.data[(c * height + row) * width + column];
        }
      }
    }
    return padded;
  }

  /**
   * Arrange the weights of a convolution for `convolve`: groups of 4 output channels, and in each group the weights of
   * the 4 channels side by side. Missing channels of the last group have weights of zero.
   */
  function makeConvolution({ shape: [outChannels, inChannels, kernelSize], data }, bias) {
    const size = inChannels * kernelSize ** 2;
    const groups = Math.ceil(outChannels / 4);
    const weights = new Float64Array(groups * size * 4);
    for (let o = 0; o < outChannels; o++) {
      for (let k = 0; k < size; k++) weights[((o >> 2) * size + k) * 4 + (o & 3)] = data[o * size + k];
    }
    const biases = new Float64Array(groups * 4);
    biases.set(bias.data);
    return { weights, biases, outChannels, inChannels, kernelSize };
  }

  /** Pad by (kernel size - 1) / 2, rounded down, and convolve; the output has an even width. */
  function convolve(map, { weights, biases, outChannels, inChannels, kernelSize }, stride, reflect = true) {
    const { data, height, width } = pad(map, (kernelSize - 1) >> 1, reflect);
    const output = makeMap(outChannels, map.height / stride, map.width / stride);
    const plane = output.height * output.width;
    // 4 channels of 2 neighboring pixels at a time: each value that is read serves in 2 or 4 products.
    for (let first = 0; first < outChannels; first += 4) {
      const firstWeight = first * inChannels * kernelSize ** 2;
      for (let y = 0; y < output.height; y++) {
        for (let x = 0; x < output.width; x += 2) {
          let a0 = biases[first], a1 = biases[first + 1], a2 = biases[first + 2], a3 = biases[first + 3];
          let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
          let w = firstWeight;
          for (let c = 0; c < inChannels; c++) {
            for (let ky = 0; ky < kernelSize; ky++) {
              let p = (c * height + y * stride + ky) * width + x * stride;
              for (const end = p + kernelSize; p < end; p++, w += 4) {
                const a = data[p], b = data[p + stride];
                const w0 = weights[w], w1 = weights[w + 1], w2 = weights[w + 2], w3 = weights[w + 3];
                a0 += w0 * a; a1 += w1 * a; a2 += w2 * a; a3 += w3 * a;
                b0 += w0 * b; b1 += w1 * b; b2 += w2 * b; b3 += w3 * b;
              }
            }
          }
          const sums = [a0, b0, a1, b1, a2, b2, a3, b3];
          for (let k = 0; k < 4 && first + k < outChannels; k++) {
            const at = (first + k) * plane + y * output.width + x;
            output.data[at] = sums[2 * k];
            output.data[at + 1] = sums[2 * k + 1];
          }
        }
      }
    }
    return output;
  }

  function meanAndVariance(values) {
    let sum = 0, squares = 0;
    for (const value of values) sum += value;
    const mean = sum / values.length;
    for (const value of values) squares += (value - mean) ** 2;
    return [mean, squares / values.length];
  }

  /** Normalize each channel in place, then scale and shift it: AdaIN, or instance normalization by default. */
  function instanceNorm(map, scale = null, shift = null) {
    const plane = map.height * map.width;
    for (let c = 0; c < map.channels; c++) {
      const values = map.data.subarray(c * plane, (c + 1) * plane);
      const [mean, variance] = meanAndVariance(values);
      const factor = (scale ? scale[c] : 1) / Math.sqrt(variance + 1e-5);
      const offset = shift ? shift[c] : 0;
      for (let k = 0; k < plane; k++) values[k] = (values[k] - mean) * factor + offset;
    }
    return map;
  }

  /** Normalize the whole map in place by its unbiased standard deviation, then scale and shift each channel. */
  function layerNorm(map, scale, shift) {
    const plane = map.height * map.width, count = map.data.length;
    const [mean, variance] = meanAndVariance(map.data);
    const deviation = Math.sqrt((variance * count) / (count - 1)) + 1e-5;
    for (let k = 0; k < count; k++) {
      const c = Math.floor(k / plane);
      map.data[k] = ((map.data[k] - mean) / deviation) * scale[c] + shift[c];
    }
    return map;
  }

  function relu(map) {
    for (let k = 0; k < map.data.length; k++) map.data[k] = Math.max(0, map.data[k]);
    return map;
  }

  function add(map, other) {
    for (let k = 0; k < map.data.length; k++) map.data[k] += other.data[k];
    return map;
  }

  /** Double height and width; each pixel becomes four. */
  function upsample(map) {
    const { channels, height, width } = map;
    const large = makeMap(channels, 2 * height, 2 * width);
    let target = 0;
    for (let row = 0; row < 2 * channels * height; row++) {
      for (let x = 0; x < 2 * width; x++) large.data[target++] = map.data[(row >> 1) * width + (x >> 1)];
    }
    return large;
  }

  function linear(values, weight, bias) {
    return Float64Array.from(bias.data, (sum, o) => {
      for (let k = 0; k < values.length; k++) sum += weight.data[o * values.length + k] * values[k];
      return sum;
    });
  }

  /** The content encoder, style encoder and decoder of one domain; `tensors` holds its weights by their torch names. */
  class AutoEncoder {
    constructor(tensors) {
      this.tensors = tensors;
      this.convolutions = {};
      for (const [name, tensor] of Object.entries(tensors)) {
        if (!name.endsWith("conv.weight")) continue;
        const block = name.slice(0, -".conv.weight".length);
        this.convolutions[block] = makeConvolution(tensor, tensors[`${block}.conv.bias`]);
      }
    }

    /** Apply the convolution of a block; in MUNIT kernels of an even size have stride 2. */
    convolve(map, block) {
      const convolution = this.convolutions[block];
      return convolve(map, convolution, convolution.kernelSize % 2 ? 1 : 2);
    }

    linear(values, layer) {
      return linear(values, this.tensors[`${layer}.weight`], this.tensors[`${layer}.bias`]);
    }

    encodeContent(image) {
      let map = image, k = 0;
      for (; `content_encoder.layers.${k}` in this.convolutions; k++) {
        map = relu(instanceNorm(this.convolve(map, `content_encoder.layers.${k}`)));
      }
      for (; `content_encoder.layers.${k}.first` in this.convolutions; k++) {
        const hidden = relu(instanceNorm(this.convolve(map, `content_encoder.layers.${k}.first`)));
        map = add(instanceNorm(this.convolve(hidden, `content_encoder.layers.${k}.second`)), map);
      }
      return map;
    }

    encodeStyle(image) {
      let map = image, k = 0;
      for (; `style_encoder.layers.${k}` in this.convolutions; k++) {
        map = relu(this.convolve(map, `style_encoder.layers.${k}`));
      }
      const plane = map.height * map.width;
      const means = Array.from({ length: map.channels }, (_, c) =>
        meanAndVariance(map.data.subarray(c * plane, (c + 1) * plane))[0]);
      return this.linear(means, `style_encoder.layers.${k + 1}`); // between them stands the pooling layer
    }

    decode(content, style) {
      let hidden = style;
      for (const layer of [0, 2, 4]) {
        if (layer) hidden = hidden.map((value) => Math.max(0, value));
        hidden = this.linear(hidden, `decoder.mlp.${layer}`);
      }
      let map = content, from = 0;
      const next = () => hidden.subarray(from, (from += content.channels)); // of AdaIN's parameters
      for (let k = 0; `decoder.blocks.${k}.first` in this.convolutions; k++) {
        const [shift1, scale1, shift2, scale2] = [next(), next(), next(), next()];
        const inner = relu(instanceNorm(this.convolve(map, `decoder.blocks.${k}.first`), scale1, shift1));
        map = add(instanceNorm(this.convolve(inner, `decoder.blocks.${k}.second`), scale2, shift2), map);
      }
      for (let k = 1; `decoder.upsampling.${k}` in this.convolutions; k += 2) {
        const name = `decoder.upsampling.${k}`;
        const { [`${name}.norm.scale`]: scale, [`${name}.norm.shift`]: shift } = this.tensors;
        map = relu(layerNorm(this.convolve(upsample(map), name), scale.data, shift.data));
      }
      const image = this.convolve(map, "decoder.to_image");
      image.data = image.data.map(Math.tanh);
      return image;
    }
  }

  /** The attribute predictor of one domain: munit_lite/evaluation/attribute_predictors.py. */
  class AttributePredictor {
    constructor(tensors) {
      this.tensors = tensors;
      this.convolutions = [0, 3, 6, 9].map((k) =>
        makeConvolution(tensors[`layers.${k}.weight`], tensors[`layers.${k}.bias`]));
    }

    /** Return the 6 logits of the class, and position, size, rotation and style as fractions of their ranges. */
    predict(image) {
      let map = image;
      this.convolutions.forEach((convolution, k) => {
        map = convolve(map, convolution, k ? 2 : 1, false);
        const plane = map.height * map.width, size = (map.channels / 8) * plane; // 8 groups of channels
        const { [`layers.${3 * k + 1}.weight`]: scale, [`layers.${3 * k + 1}.bias`]: shift } = this.tensors;
        for (let from = 0; from < map.data.length; from += size) {
          const group = map.data.subarray(from, from + size);
          const [mean, variance] = meanAndVariance(group);
          for (let n = 0; n < size; n++) {
            const c = Math.floor((from + n) / plane);
            group[n] = ((group[n] - mean) / Math.sqrt(variance + 1e-5)) * scale.data[c] + shift.data[c];
          }
        }
        relu(map);
      });
      const layer = (values, k) => linear(values, this.tensors[`layers.${k}.weight`], this.tensors[`layers.${k}.bias`]);
      return layer(layer(map.data, 13).map((value) => Math.max(0, value)), 15);
    }
  }

  /** The model; `domain` is 1 or 2, a style is an array of numbers, and images have values in [-1, 1]. */
  class Munit {
    /** Take tensors { shape, data } by their torch names; those of the attribute predictors may be missing. */
    constructor(tensors) {
      const groups = {};
      for (const [name, tensor] of Object.entries(tensors)) {
        const [, group, rest] = name.match(/^(\w+\.\d)\.(.*)$/);
        (groups[group] ??= {})[rest] = tensor;
      }
      this.autoEncoders = [0, 1].map((k) => new AutoEncoder(groups[`auto_encoders.${k}`]));
      this.predictors = groups["predictors.0"] && [0, 1].map((k) => new AttributePredictor(groups[`predictors.${k}`]));
    }

    encodeContent(image, domain) {
      return this.autoEncoders[domain - 1].encodeContent(image);
    }

    encodeStyle(image, domain) {
      return this.autoEncoders[domain - 1].encodeStyle(image);
    }

    decode(content, style, domain) {
      return this.autoEncoders[domain - 1].decode(content, style);
    }

    predict(image, domain) {
      return this.predictors[domain - 1].predict(image);
    }
  }

  return { Munit };
}
