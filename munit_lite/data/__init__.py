"""Image data: one interface for the known world, Fashion-MNIST and folders of images. A training batch is a pure
function of the seed and the step, so that a resumed run sees the same images."""
