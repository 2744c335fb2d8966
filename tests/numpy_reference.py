"""The paper's equations once more, in float64 NumPy: an independent truth for the package's torch code.

A loss returns its value and its gradients, derived by hand. E is the mean over all elements of an array; D is the
sigmoid of a logit where an equation takes a logarithm. A network takes its weights as lists, in the order an image
meets them: `convs` and `linears` are lists of (weight, bias), `norms` a list of (scale, shift).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
EPS = 1e-5

# ------------------------------------------------------------------------------------------ reconstruction losses


def mean_l1(a: Array, b: Array) -> tuple[float, Array, Array]:
    """E |a - b|, and its gradients in a and in b; 0 where a = b."""
    slope = np.sign(a - b) / a.size
    return float(np.sum(np.abs(a - b)) / a.size), slope, -slope


# -------------------------------------------------------------------------------------------- adversarial losses


def sigmoid(u: Array) -> Array:
    """1 / (1 + e^-u), through tanh so that no exponential overflows."""
    return (1 + np.tanh(u / 2)) / 2


def softplus(u: Array) -> Array:
    """log(1 + e^u)."""
    return np.logaddexp(0, u)


def _ones(u: Array) -> Array:
    return np.ones_like(u)


# (f, f') of what is averaged: for real logits and for fake ones in the discriminator's loss.
_DISCRIMINATOR = {
    "lsgan": ((lambda r: (r - 1) ** 2, lambda r: 2 * (r - 1)), (lambda f: f**2, lambda f: 2 * f)),
    # -log D = softplus(-u) with slope -(1 - D);  -log(1 - D) = softplus(u) with slope D.
    "minimax": ((lambda r: softplus(-r), lambda r: -sigmoid(-r)), (softplus, sigmoid)),
    "hinge": (
        (lambda r: np.maximum(0, 1 - r), lambda r: np.where(r < 1, -1.0, 0.0)),
        (lambda f: np.maximum(0, 1 + f), lambda f: np.where(f > -1, 1.0, 0.0)),
    ),
}
# (f, f') for the fake logits in the generator's loss.
_GENERATOR = {
    "lsgan": (lambda f: (f - 1) ** 2, lambda f: 2 * (f - 1)),
    "minimax": (lambda f: -softplus(f), lambda f: -sigmoid(f)),
    "nonsaturating": (lambda f: softplus(-f), lambda f: -sigmoid(-f)),
    "hinge": (lambda f: -f, lambda f: -_ones(f)),
}


def _expectation(logits: list[Array], pair) -> tuple[float, list[Array]]:
    """The sum over scales of E f, and the gradient in each scale's logits."""
    f, slope = pair
    return sum(float(f(u).sum() / u.size) for u in logits), [slope(u) / u.size for u in logits]


def discriminator_loss(form: str, real: list[Array], fake: list[Array]) -> tuple[float, list[Array]]:
    """Value, and gradients in the real logits of every scale followed by the fake ones."""
    on_real, real_slopes = _expectation(real, _DISCRIMINATOR[form][0])
    on_fake, fake_slopes = _expectation(fake, _DISCRIMINATOR[form][1])
    return on_real + on_fake, real_slopes + fake_slopes


def generator_loss(form: str, fake: list[Array]) -> tuple[float, list[Array]]:
    """Value, and gradients in the fake logits of every scale."""
    return _expectation(fake, _GENERATOR[form])


# ------------------------------------------------------------------------------------------------------ the norms


def instance_norm(z: Array, eps: float = EPS) -> Array:
    """(z - mu) / sqrt(sigma^2 + eps), for each sample and channel over its n pixels; sigma^2 divides by n."""
    mu = z.mean((2, 3), keepdims=True)
    return (z - mu) / np.sqrt(((z - mu) ** 2).mean((2, 3), keepdims=True) + eps)


def instance_norm_gradient(z: Array, upstream: Array, eps: float = EPS) -> Array:
    """With y the output and g the gradient in it: (g - E g - y E[g y]) / sqrt(sigma^2 + eps)."""
    y = instance_norm(z, eps)
    mean = upstream.mean((2, 3), keepdims=True)
    along = (upstream * y).mean((2, 3), keepdims=True)
    return (upstream - mean - y * along) / np.sqrt(z.var((2, 3), keepdims=True) + eps)


def adain(z: Array, gamma: Array, beta: Array, eps: float = EPS) -> Array:
    """gamma (z - mu(z)) / sigma(z) + beta; gamma and beta are (B, C)."""
    return gamma[..., None, None] * instance_norm(z, eps) + beta[..., None, None]


def adain_gradients(z: Array, gamma: Array, upstream: Array) -> tuple[Array, Array, Array]:
    """In z, gamma and beta."""
    in_z = instance_norm_gradient(z, upstream * gamma[..., None, None])
    return in_z, (upstream * instance_norm(z)).sum((2, 3)), upstream.sum((2, 3))


def layer_norm(z: Array, scale: Array, shift: Array, eps: float = EPS) -> Array:
    """The decoder's: (z - mu) / (s + eps) over (C, H, W) of a sample, s^2 dividing by n - 1; affine per channel."""
    n = z[0].size
    centered = z - z.mean((1, 2, 3), keepdims=True)
    s = np.sqrt((centered**2).sum((1, 2, 3), keepdims=True) / (n - 1))
    return scale[:, None, None] * centered / (s + eps) + shift[:, None, None]


def layer_norm_gradients(z: Array, scale: Array, upstream: Array, eps: float = EPS) -> tuple[Array, Array, Array]:
    """In z, scale and shift. ds/dz_i = (z_i - mu) / ((n - 1) s)."""
    n = z[0].size
    centered = z - z.mean((1, 2, 3), keepdims=True)
    s = np.sqrt((centered**2).sum((1, 2, 3), keepdims=True) / (n - 1))
    g = upstream * scale[:, None, None]
    through_mean = (g - g.mean((1, 2, 3), keepdims=True)) / (s + eps)
    through_s = (g * centered).sum((1, 2, 3), keepdims=True) / (s + eps) ** 2 * centered / ((n - 1) * s)
    return through_mean - through_s, (upstream * centered / (s + eps)).sum((0, 2, 3)), upstream.sum((0, 2, 3))


def perceptual(a: Array, b: Array, eps: float = EPS) -> tuple[float, Array, Array]:
    """E (IN(a) - IN(b))^2, and its gradients in a and in b."""
    difference = instance_norm(a, eps) - instance_norm(b, eps)
    g = 2 * difference / a.size
    return (
        float((difference**2).sum() / a.size),
        instance_norm_gradient(a, g, eps),
        instance_norm_gradient(b, -g, eps),
    )


# --------------------------------------------------------------------------------------------------- the networks


def relu(u: Array) -> Array:
    return np.where(u > 0, u, 0.0)


def leaky_relu(u: Array) -> Array:
    return np.where(u > 0, u, 0.2 * u)


def conv(image: Array, weight: Array, bias: Array, stride: int = 1) -> Array:
    """Cross-correlation after mirroring the border: by 3 for 7x7, 2 for 5x5, 1 for 3x3 and 4x4, 0 for 1x1."""
    k = weight.shape[-1]
    pad = {1: 0, 3: 1, 4: 1, 5: 2, 7: 3}[k]
    mirrored = np.pad(image, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("bchwij,ocij->bohw", windows, weight, optimize=True) + bias[:, None, None]


def average_pool(image: Array) -> Array:
    """3x3 windows, two pixels apart, centered on pixels 0, 2, 4, …; pixels outside the image are not counted."""
    height, width = image.shape[2:]
    rows = [image[:, :, max(i - 1, 0) : i + 2] for i in range(0, height, 2)]
    return np.stack(
        [np.stack([r[..., max(j - 1, 0) : j + 2].mean((2, 3)) for j in range(0, width, 2)], -1) for r in rows], -2
    )


def content_encoder(image: Array, convs: list, downsamples: int) -> Array:
    """c7s1, the 4x4 stride-2 convolutions, the residual blocks; IN after each convolution."""
    first, down, rest = convs[0], convs[1 : 1 + downsamples], convs[1 + downsamples :]
    h = relu(instance_norm(conv(image, *first)))
    for c in down:
        h = relu(instance_norm(conv(h, *c, stride=2)))
    for a, b in zip(rest[::2], rest[1::2], strict=True):
        h = h + instance_norm(conv(relu(instance_norm(conv(h, *a))), *b))
    return h


def style_encoder(image: Array, convs: list) -> Array:
    """c7s1, the 4x4 stride-2 convolutions, global average, linear map; no norm."""
    h = relu(conv(image, *convs[0]))
    for c in convs[1:-1]:
        h = relu(conv(h, *c, stride=2))
    weight, bias = convs[-1]
    return h.mean((2, 3)) @ weight[:, :, 0, 0].T + bias


def decoder(content: Array, style: Array, convs: list, linears: list, norms: list) -> Array:
    """AdaIN residual blocks, upsampling stages with layer norm, c7s1 with tanh."""
    hidden = style
    for k, (weight, bias) in enumerate(linears):
        hidden = hidden @ weight.T + bias
        hidden = hidden if k == len(linears) - 1 else relu(hidden)

    channels = content.shape[1]
    columns = iter(np.split(hidden, hidden.shape[1] // channels, axis=1))

    def next_adain(z: Array) -> Array:
        beta = next(columns)  # each layer's shift comes first
        return adain(z, next(columns), beta)

    *body, to_image = convs
    blocks, stages = body[: len(body) - len(norms)], body[len(body) - len(norms) :]
    h = content
    for a, b in zip(blocks[::2], blocks[1::2], strict=True):
        h = h + next_adain(conv(relu(next_adain(conv(h, *a))), *b))
    for c, norm in zip(stages, norms, strict=True):
        h = relu(layer_norm(conv(h.repeat(2, axis=2).repeat(2, axis=3), *c), *norm))
    assert next(columns, None) is None, "AdaIN parameters are left over"
    return np.tanh(conv(h, *to_image))


def minibatch_std(z: Array, group: int) -> Array:
    """For each channel of each group of images their unbiased standard deviation, averaged over positions."""
    result = np.empty_like(z)
    for first in range(0, len(z), group):
        images = z[first : first + group]
        std = np.sqrt(((images - images.mean(0)) ** 2).sum(0) / (len(images) - 1) + 1e-8)
        result[first : first + group] = std.mean((1, 2))[None, :, None, None]
    return result


def discriminator(image: Array, convs_by_scale: list[list], group: int = 0) -> list[Array]:
    """One map of logits for each scale, finest first."""
    logits = []
    for convs in convs_by_scale:
        h = image
        for c in convs[:-1]:
            h = leaky_relu(conv(h, *c, stride=2))
        if group:
            h = np.concatenate([h, minibatch_std(h, group)], axis=1)
        logits.append(conv(h, *convs[-1]))
        image = average_pool(image)
    return logits
