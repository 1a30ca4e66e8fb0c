"""The paper's student (§3.1): two small encoders, proprioception, a task embedding, an MLP head.

    agentview, wrist -> 3 x (Conv - GroupNorm - SiLU) -> pooling -> 128 each
    proprio 7 -> Linear -> 32,  task index -> Embedding -> 32
    320 -> Linear - SiLU - Linear -> K x A = 16 x 7

The paper fixes the widths of the features; channels, strides, kernels and the head's width are ours.
How many of the K steps are executed belongs to whoever executes a chunk, not to the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lit_distill.errors import LitDistillError
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, PROPRIO_DIM

Pooling = Literal["average", "weighted_average", "spatial_softmax"]

PROPRIO_FEATURES = 32
TASK_FEATURES = 32
NUM_GROUPS = 8
"""Groups of every GroupNorm; each layer's channels must be a multiple of it."""
STD_FLOOR = 0.01
"""Smallest deviation (m or rad) that proprioception is divided by, so that a joint coordinate that hardly
moves in the data does not explode when the student strays."""


class WeightedAverage(nn.Module):
    """Spatial average with one learned weight per channel and position: mean_hw(w_chw x_bchw).

    It starts as the plain average, and may learn where in the image a channel matters.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, size, size))

    def forward(self, maps: Tensor) -> Tensor:
        """Pool float maps [B, C, H', W'] to [B, C]."""
        return (maps * self.weight).mean(dim=(-2, -1))


class SpatialSoftmax(nn.Module):
    """Expected image position of each of C/2 learned heat maps (Levine et al. 2016), so C features.

    Positions run from -1 (left, top) to 1 (right, bottom).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heat_maps = nn.Conv2d(channels, channels // 2, kernel_size=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool float maps [B, C, H', W'] to [B, C]: C/2 horizontal, then C/2 vertical positions."""
        heat = self.heat_maps(maps).float()  # [B, C/2, H', W']
        height, width = heat.shape[-2:]
        probability = heat.flatten(2).softmax(dim=-1).unflatten(2, (height, width))
        columns = torch.linspace(-1.0, 1.0, width, device=heat.device)
        rows = torch.linspace(-1.0, 1.0, height, device=heat.device)
        horizontal = (probability.sum(dim=2) * columns).sum(dim=-1)  # [B, C/2]
        vertical = (probability.sum(dim=3) * rows).sum(dim=-1)
        return torch.cat([horizontal, vertical], dim=-1)


class Average(nn.Module):
    """Global average pooling, the paper's choice."""

    def forward(self, maps: Tensor) -> Tensor:
        """Pool float maps [B, C, H', W'] to [B, C]."""
        return maps.mean(dim=(-2, -1))


class ImageEncoder(nn.Sequential):
    """3 x (Conv - GroupNorm - SiLU) and a pooling: float [B, 3, H, W] -> [B, C]."""

    def __init__(
        self,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        strides: Sequence[int],
        pooling: Pooling,
        image_size: int,
    ) -> None:
        layers: list[nn.Module] = []
        inputs, size = 3, image_size
        for outputs, kernel, stride in zip(channels, kernel_sizes, strides, strict=True):
            layers += [
                nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2),
                nn.GroupNorm(NUM_GROUPS, outputs),
                nn.SiLU(),
            ]
            inputs, size = outputs, math.ceil(size / stride)  # odd kernels, padded by half
        if pooling == "average":
            layers.append(Average())
        elif pooling == "weighted_average":
            layers.append(WeightedAverage(inputs, size))
        else:
            layers.append(SpatialSoftmax(inputs))
        super().__init__(*layers)


class StudentNetwork(nn.Module):
    """Deterministic student policy: one observation in, one action chunk out.

    Images stay uint8 [B, H, W, 3] until here; seen as [B, 3, H, W] that layout is `channels_last`, in
    which the convolutions run fastest, so nothing is copied. Normalisation lives in buffers and
    travels with the checkpoint.

    Args:
        channels: Output channels of the three convolutions, multiples of 8. The last is the number of
            features per view (the paper: 128).
        kernel_sizes: Kernel sizes of the three convolutions, odd.
        strides: Strides of the three convolutions; 4, 2, 2 costs a third of 2, 2, 2 and sees further.
        pooling: From the last feature map to a vector: `average` (the paper), `weighted_average`
            (a learned weight per channel and position) or `spatial_softmax` (expected positions).
        image_size: Height and width of both views in pixels.
        hidden: Width of the head's hidden layer.
        num_tasks: Rows of the task embedding; a task's row is its fixed number in the task table.

    Raises:
        LitDistillError: A value cannot be right; says which, and what is allowed.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor
    proprio_mean: Tensor
    proprio_std: Tensor

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        kernel_sizes: Sequence[int] = (5, 3, 3),
        strides: Sequence[int] = (4, 2, 2),
        pooling: Pooling = "average",
        image_size: int = 128,
        hidden: int = 256,
        num_tasks: int = 15,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "channels": [int(width) for width in channels],
            "kernel_sizes": [int(size) for size in kernel_sizes],
            "strides": [int(stride) for stride in strides],
            "pooling": str(pooling),
            "image_size": int(image_size),
            "hidden": int(hidden),
            "num_tasks": int(num_tasks),
        }
        """The constructor's arguments as primitives: what a checkpoint records to rebuild the network."""
        check_arguments(**self.arguments)
        self.image_size = image_size
        self.num_tasks = num_tasks
        encoder = (channels, kernel_sizes, strides, pooling, image_size)
        self.agentview_encoder = ImageEncoder(*encoder)
        self.wrist_encoder = ImageEncoder(*encoder)
        self.proprio_encoder = nn.Linear(PROPRIO_DIM, PROPRIO_FEATURES)
        self.task_embedding = nn.Embedding(num_tasks, TASK_FEATURES)
        self.feature_dim = 2 * channels[-1] + PROPRIO_FEATURES + TASK_FEATURES
        self.head = nn.Sequential(
            nn.Linear(self.feature_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, CHUNK_LENGTH * ACTION_DIM),
            nn.Unflatten(-1, (CHUNK_LENGTH, ACTION_DIM)),
        )
        self.register_buffer("pixel_mean", torch.tensor(127.5))
        self.register_buffer("pixel_scale", torch.tensor(127.5))
        self.register_buffer("proprio_mean", torch.zeros(PROPRIO_DIM))
        self.register_buffer("proprio_std", torch.ones(PROPRIO_DIM))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it

    @property
    def parameter_count(self) -> int:
        """Number of trainable scalars."""
        return sum(parameter.numel() for parameter in self.parameters())

    def set_statistics(self, mean: Any, std: Any) -> None:
        """Set the mean and deviation (7 floats each; m, rad) that proprioception is normalised by.

        Deviations below `STD_FLOOR` are raised to it.

        Raises:
            LitDistillError: The shape is not [7] or a value is not finite or negative.
        """
        for name, values in (("proprio_mean", mean), ("proprio_std", std)):
            tensor = torch.as_tensor(values, dtype=torch.float32)
            if tensor.shape != (PROPRIO_DIM,) or not tensor.isfinite().all():
                raise LitDistillError(f"{name}: expected {PROPRIO_DIM} finite numbers, got {tensor.tolist()}")
            if name == "proprio_std" and (tensor < 0).any():
                raise LitDistillError(f"{name}: a deviation cannot be negative, got {tensor.tolist()}")
            getattr(self, name).copy_(tensor)
        self.proprio_std.clamp_(min=STD_FLOOR)

    def encode(self, agentview: Tensor, wrist: Tensor, proprio: Tensor, task_index: Tensor) -> Tensor:
        """Everything before the head.

        Args:
            agentview: uint8 [B, H, W, 3].
            wrist: uint8 [B, H, W, 3].
            proprio: float32 [B, 7], unnormalised (m, rad).
            task_index: int64 [B].

        Returns:
            Features, float32 [B, 320]; under autocast only the convolutions are of low precision.

        Raises:
            LitDistillError: An image is not uint8 of the size that the network was built for.
        """
        views = [
            self.agentview_encoder(self._pixels("agentview", agentview)).float(),
            self.wrist_encoder(self._pixels("wrist", wrist)).float(),
        ]
        with torch.autocast(proprio.device.type, enabled=False):  # a bfloat16 position is 1 mm off
            state = self.proprio_encoder((proprio - self.proprio_mean) / self.proprio_std)
        return torch.cat([*views, state, self.task_embedding(task_index)], dim=-1)

    def forward(self, agentview: Tensor, wrist: Tensor, proprio: Tensor, task_index: Tensor) -> Tensor:
        """Mean action chunk, float32 [B, K, A], not bounded: whoever acts clips it to [-1, 1].

        Arguments and errors as in `encode`.
        """
        features = self.encode(agentview, wrist, proprio, task_index)
        with torch.autocast(features.device.type, enabled=False):  # actions need more than 8 bits
            return self.head(features)

    def _pixels(self, name: str, images: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> float [B, 3, H, W] in [-1, 1], channels_last."""
        if images.dtype != torch.uint8 or images.shape[1:] != (self.image_size, self.image_size, 3):
            raise LitDistillError(
                f"{name}: the student was built for uint8 [B, {self.image_size}, {self.image_size}, 3], "
                f"got {str(images.dtype).removeprefix('torch.')} {list(images.shape)}; set network.image_size"
            )
        return (images.permute(0, 3, 1, 2) - self.pixel_mean) / self.pixel_scale


def check_arguments(
    channels: list[int],
    kernel_sizes: list[int],
    strides: list[int],
    pooling: str,
    image_size: int,
    hidden: int,
    num_tasks: int,
) -> None:
    """Raise LitDistillError naming the first of StudentNetwork's arguments that cannot be right."""
    for name, values in (("channels", channels), ("kernel_sizes", kernel_sizes), ("strides", strides)):
        if len(values) != 3 or min(values) < 1:
            raise LitDistillError(f"{name}: expected three positive whole numbers, got {values}")
    if any(width % NUM_GROUPS for width in channels):
        raise LitDistillError(
            f"channels: each must be a multiple of {NUM_GROUPS} (GroupNorm), got {channels}"
        )
    if any(kernel % 2 == 0 for kernel in kernel_sizes):
        raise LitDistillError(f"kernel_sizes: each must be odd, got {kernel_sizes}")
    if pooling not in get_args(Pooling):
        raise LitDistillError(f"pooling: must be one of {', '.join(get_args(Pooling))}, got {pooling!r}")
    if image_size < math.prod(strides):
        raise LitDistillError(f"image_size: must be at least the product of the strides, got {image_size}")
    for name, value in (("hidden", hidden), ("num_tasks", num_tasks)):
        if value < 1:
            raise LitDistillError(f"{name}: must be at least 1, got {value}")
