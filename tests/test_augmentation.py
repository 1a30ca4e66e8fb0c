import pytest
import torch

from lit_distill.errors import LitDistillError
from lit_distill.networks.augmentation import RandomShift, positional_generator, shift_images


def shifted_by_hand(image: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The definition, pixel by pixel: output [y, x] = input [y + rows, x + columns], border repeated."""
    height, width, _ = image.shape
    result = torch.empty_like(image)
    for y in range(height):
        for x in range(width):
            source = (min(max(y + rows, 0), height - 1), min(max(x + columns, 0), width - 1))
            result[y, x] = image[source]
    return result


def random_images(batch: int, height: int = 6, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def test_shifts_are_the_definition_for_every_offset():
    offsets = [(rows, columns) for rows in range(-2, 3) for columns in range(-2, 3)]
    images = random_images(len(offsets), height=5, width=7)
    result = shift_images(images, torch.tensor(offsets), pixels=2)
    for image, shifted, (rows, columns) in zip(images, result, offsets, strict=True):
        assert torch.equal(shifted, shifted_by_hand(image, rows, columns))


def test_non_contiguous_images_are_shifted_the_same():
    images = random_images(2)
    shifts = torch.tensor([[1, -2], [0, 2]])
    mirrored = images.flip(2)
    view = torch.empty(2, 6, 12, 3, dtype=torch.uint8)[:, :, ::2]
    view.copy_(mirrored)
    assert torch.equal(shift_images(view, shifts, 2), shift_images(mirrored, shifts, 2))


def test_every_offset_occurs_and_samples_differ():
    images = random_images(1).expand(400, -1, -1, -1)
    result = RandomShift(pixels=1)(images, positional_generator(0))
    expected = {
        tuple(shifted_by_hand(images[0], rows, columns).flatten().tolist())
        for rows in (-1, 0, 1)
        for columns in (-1, 0, 1)
    }
    assert {tuple(image.flatten().tolist()) for image in result} == expected


def test_numbers_are_a_function_of_the_position_alone():
    images = random_images(16)
    shift = RandomShift(pixels=2)
    first = shift(images, positional_generator(7, 0, 3, 5))
    torch.manual_seed(123)
    assert torch.equal(first, shift(images, positional_generator(7, 0, 3, 5)))
    for other in [(8, 0, 3, 5), (7, 1, 3, 5), (7, 0, 4, 5), (7, 0, 3, 6)]:
        assert not torch.equal(first, shift(images, positional_generator(*other)))


def test_a_sample_is_shifted_the_same_whichever_process_has_it():
    images = random_images(12)
    shift = RandomShift(pixels=2)
    whole = shift(images, positional_generator(7))
    parts = [
        shift(part, positional_generator(7), before) for part, before in ((images[:5], 0), (images[5:], 5))
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(parts[1], shift(images[5:], positional_generator(7)))


def test_one_generator_shifts_two_views_differently():
    images = random_images(16)
    generator = positional_generator(1)
    shift = RandomShift(pixels=2)
    assert not torch.equal(shift(images, generator), shift(images, generator))


def test_zero_pixels_leave_images_alone_and_negative_ones_are_refused():
    images = random_images(2)
    assert RandomShift(pixels=0)(images, positional_generator(1)) is images
    with pytest.raises(LitDistillError, match="shift_pixels.*-1"):
        RandomShift(pixels=-1)
