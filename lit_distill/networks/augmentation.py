"""Random-shift augmentation (DrQ, Kostrikov et al. 2021): pad by repeating the border, crop at random.

The one thing without which behaviour cloning from 50 episodes fails altogether.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lit_distill.errors import LitDistillError
from lit_distill.schema import ChunkBatch, ReplayBatch

Batch = TypeVar("Batch", ChunkBatch, ReplayBatch)


def positional_generator(*position: int) -> torch.Generator:
    """A CPU generator whose numbers are a pure function of `position`.

    Args:
        position: Non-negative whole numbers, such as (seed, epoch, batch, view), so that a resumed run
            draws what the uninterrupted one would have drawn.
    """
    state = np.random.SeedSequence(position).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state))


def shift_images(images: Tensor, shifts: Tensor, pixels: int) -> Tensor:
    """Shift every image of a batch by its own offset; what comes into view repeats the border.

    One gather of whole rows: twenty times as fast on a CPU as indexing pixels, and no loop over samples.

    Args:
        images: uint8 [B, H, W, 3].
        shifts: int64 [B, 2], rows and columns in pixels within [-pixels, pixels]: output [y, x] shows
            input [y + shifts[0], x + shifts[1]].
        pixels: Largest shift.

    Returns:
        uint8 [B, H, W, 3], contiguous.
    """
    batch, height, width, depth = images.shape
    left = images[:, :, :1].expand(-1, -1, pixels, -1)
    right = images[:, :, -1:].expand(-1, -1, pixels, -1)
    padded = torch.cat([left, images, right], dim=2)  # [B, H, W + 2 pixels, 3]
    windows = padded.flatten().unfold(0, width * depth, depth)  # view: one window per padded pixel
    sample = torch.arange(batch, device=images.device)[:, None]
    rows = (torch.arange(height, device=images.device) + shifts[:, :1]).clamp(0, height - 1)  # [B, H]
    starts = (sample * height + rows) * (width + 2 * pixels) + shifts[:, 1:] + pixels  # [B, H]
    return windows.index_select(0, starts.flatten()).view(batch, height, width, depth)


class RandomShift:
    """Shift each image of a batch by up to `pixels` pixels along both axes, each sample its own way.

    Args:
        pixels: Largest shift in pixels; 0 leaves images as they are.

    Raises:
        LitDistillError: `pixels` is negative.
    """

    def __init__(self, pixels: int = 4) -> None:
        if pixels < 0:
            raise LitDistillError(f"shift_pixels: must be 0 (no augmentation) or more, got {pixels}")
        self.pixels = pixels

    def __call__(self, images: Tensor, generator: torch.Generator, before: int = 0) -> Tensor:
        """Augment a batch, or a process's part of one.

        Args:
            images: uint8 [B, H, W, 3].
            generator: on the CPU; 2 (before + B) numbers are drawn from it.
            before: How many samples of the whole batch other processes have before ours, so that a sample
                is shifted the same whoever has it.
        """
        if self.pixels == 0:
            return images
        size = (before + len(images), 2)
        shifts = torch.randint(-self.pixels, self.pixels + 1, size, generator=generator)[before:]
        return shift_images(images, shifts.to(images.device), self.pixels)


def shift_views(batch: Batch, shift: RandomShift, position: tuple[int, ...], rank: int) -> Batch:
    """Shift both views of a batch, each in its own way: a pure function of position and place in the batch.

    Args:
        batch: Of all processes together, or this process's part of one: all have equal parts, in their order.
        shift: How far.
        position: Of the batch, see `positional_generator`; the view's number is added to it.
        rank: Number of this process.
    """
    shifted = batch.copy()
    before = rank * len(batch["proprio"])
    for number, view in enumerate(("agentview", "wrist")):
        shifted[view] = shift(batch[view], positional_generator(*position, number), before)  # type: ignore[literal-required]
    return shifted
