"""The tolerances of closeness.py let rounding pass and nothing larger."""

import numpy as np
import pytest
import torch
from closeness import ROUNDING, ImageTable, assert_same_images, assert_same_outputs


def test_one_gray_level_is_rounding_and_two_are_a_difference():
    image = np.full((4, 4, 3), 7, np.uint8)
    assert_same_images(image, image + np.uint8(1))
    for other, message in ((image + np.uint8(2), "by up to 2"), (image - np.uint8(8), "by up to 248")):  # 7 - 8 is 255
        with pytest.raises(AssertionError, match=f"{message} gray levels"):
            assert_same_images(image, other)
    with pytest.raises(AssertionError, match="by up to 1 gray levels"):
        assert_same_images(image, image + np.uint8(1), levels=0)


def test_outputs_may_differ_by_rounding_alone():
    outputs = torch.linspace(-1, 1, 9)
    assert_same_outputs(outputs, outputs + ROUNDING / 2)
    with pytest.raises(AssertionError, match="not close"):
        assert_same_outputs(outputs, outputs + 2 * ROUNDING)


def test_the_table_finds_an_image_in_spite_of_rounding_and_refuses_one_that_it_does_not_know():
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    table = ImageTable()
    table.note(images[:2], torch.tensor([[0.0], [1.0]]))
    table.note(images[2:4], torch.tensor([[2.0], [3.0]]))
    assert table.of(images[[3, 0, 2]] + 1e-6).tolist() == [[3.0], [0.0], [2.0]]
    with pytest.raises(AssertionError, match="an image that was never noted"):
        table.of(images[4:])
