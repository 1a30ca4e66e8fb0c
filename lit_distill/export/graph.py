"""The student for one task as a graph of few operations: what is written to ONNX and OpenVINO files.

The same function as StudentNetwork's, re-expressed for batch 1 and one task:
- images stay uint8 [1, H, W, 3] until the graph; the division by `pixel_scale` is in the first weights;
- a GroupNorm is one layer norm over each group, then a scale and a shift per channel;
- expected positions (spatial softmax) are one matrix product;
- the normalisation of proprioception is in its layer's weights, the task's embedding in the head's bias.

Sums run in another order, so float32 results differ from the network's in the last digits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_distill.errors import LitDistillError
from lit_distill.networks.student import (
    Average,
    ImageEncoder,
    SpatialSoftmax,
    StudentNetwork,
    WeightedAverage,
)
from lit_distill.schema import ACTION_DIM, CHUNK_LENGTH, PROPRIO_DIM


class DeployedGroupNorm(nn.Module):
    """nn.GroupNorm for batch 1."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.register_buffer("scale", norm.weight.detach()[:, None, None].clone())
        self.register_buffer("shift", norm.bias.detach()[:, None, None].clone())

    def forward(self, maps: Tensor) -> Tensor:
        """float [1, C, H', W'] -> the same shape."""
        grouped = maps.reshape(1, self.groups, -1)
        normalised = functional.layer_norm(grouped, grouped.shape[2:], eps=self.eps).reshape(maps.shape)
        return normalised * self.scale + self.shift


class DeployedPooling(nn.Module):
    """From the last maps [1, C, H', W'] to features [1, C]."""

    weights: Tensor

    def __init__(self, pooling: nn.Module, size: int) -> None:
        super().__init__()
        self.heat_maps: nn.Module | None = None
        if isinstance(pooling, Average):
            weights = torch.full((size * size,), 1.0 / size**2)  # [H'W']
        elif isinstance(pooling, WeightedAverage):
            weights = pooling.weight.detach().flatten(1) / size**2  # [C, H'W']
        elif isinstance(pooling, SpatialSoftmax):
            self.heat_maps = pooling.heat_maps
            places = torch.linspace(-1.0, 1.0, size)
            weights = torch.stack([places.repeat(size), places.repeat_interleave(size)], dim=1)  # [H'W', 2]
        else:
            raise LitDistillError(f"pooling: {type(pooling).__name__} cannot be exported")
        self.register_buffer("weights", weights.clone())

    def forward(self, maps: Tensor) -> Tensor:
        """float [1, C, H', W'] -> [1, C]."""
        if self.heat_maps is not None:
            probability = self.heat_maps(maps).flatten(2).softmax(dim=-1)  # [1, C/2, H'W']
            return (probability @ self.weights).transpose(1, 2).flatten(1)  # horizontal, then vertical
        if self.weights.ndim == 1:
            return maps.flatten(2) @ self.weights
        return (maps.flatten(2) * self.weights).sum(dim=-1)


def deployed_encoder(encoder: ImageEncoder, image_size: int, pixel_scale: Tensor) -> nn.Sequential:
    """The encoder for pixels from which the mean was subtracted, but which were not scaled."""
    layers: list[nn.Module] = []
    size = image_size
    for layer in encoder:
        if isinstance(layer, nn.Conv2d):
            layer = _copy(layer, 1.0 / pixel_scale if not layers else torch.tensor(1.0))
            size = -(-size // layer.stride[0])  # odd kernels, padded by half
        elif isinstance(layer, nn.GroupNorm):
            layer = DeployedGroupNorm(layer)
        elif not isinstance(layer, nn.SiLU):
            layer = DeployedPooling(layer, size)
        layers.append(layer)
    return nn.Sequential(*layers)


def _copy(layer: nn.Conv2d, factor: Tensor) -> nn.Conv2d:
    """A copy with its weights, not its bias, multiplied by a factor."""
    assert layer.bias is not None and isinstance(layer.padding, tuple)
    copied = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)  # type: ignore[arg-type]
    copied.weight.data = layer.weight.detach().contiguous() * factor
    copied.bias = nn.Parameter(layer.bias.detach().clone())
    return copied


class DeployedStudent(nn.Module):
    """agentview, wrist, proprio -> chunk: a StudentNetwork for one task, without anything to set.

    Args:
        network: The student; copied, on the CPU.
        task_row: The task's row in the embedding.

    Raises:
        LitDistillError: The network knows fewer tasks than `task_row` asks for.
    """

    pixel_mean: Tensor

    def __init__(self, network: StudentNetwork, task_row: int) -> None:
        super().__init__()
        if not 0 <= task_row < network.num_tasks:
            raise LitDistillError(
                f"task_index: the student embeds tasks 0..{network.num_tasks - 1}, got {task_row}"
            )
        size, scale = network.image_size, network.pixel_scale
        self.register_buffer("pixel_mean", network.pixel_mean.detach().clone())
        self.agentview_encoder = deployed_encoder(network.agentview_encoder, size, scale)
        self.wrist_encoder = deployed_encoder(network.wrist_encoder, size, scale)
        with torch.no_grad():
            self.proprio_encoder = self._proprio_layer(network)
            self.hidden, self.output = self._head(network, task_row)
        self.eval().requires_grad_(False)

    @staticmethod
    def _proprio_layer(network: StudentNetwork) -> nn.Linear:
        layer = network.proprio_encoder
        folded = nn.Linear(PROPRIO_DIM, layer.out_features)
        folded.weight.data = layer.weight / network.proprio_std
        folded.bias.data = layer.bias - folded.weight @ network.proprio_mean
        return folded

    @staticmethod
    def _head(network: StudentNetwork, task_row: int) -> tuple[nn.Linear, nn.Linear]:
        first, last = network.head[0], network.head[2]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        task = network.task_embedding.weight[task_row]
        seen = network.feature_dim - len(task)  # the task's features come last
        hidden = nn.Linear(seen, first.out_features)
        hidden.weight.data = first.weight[:, :seen].clone()
        hidden.bias.data = first.bias + first.weight[:, seen:] @ task
        output = nn.Linear(last.in_features, last.out_features)
        output.weight.data, output.bias.data = last.weight.clone(), last.bias.clone()
        return hidden, output

    def forward(self, agentview: Tensor, wrist: Tensor, proprio: Tensor) -> Tensor:
        """The mean action chunk.

        Args:
            agentview: uint8 [1, H, W, 3].
            wrist: uint8 [1, H, W, 3].
            proprio: float32 [1, 7], unnormalised (m, rad).

        Returns:
            float32 [1, K, A], not bounded: whoever acts clips it to [-1, 1].
        """
        features = torch.cat(
            [
                self.agentview_encoder(self._pixels(agentview)),
                self.wrist_encoder(self._pixels(wrist)),
                self.proprio_encoder(proprio),
            ],
            dim=-1,
        )
        chunk = self.output(functional.silu(self.hidden(features)))
        return chunk.reshape(1, CHUNK_LENGTH, ACTION_DIM)

    def _pixels(self, images: Tensor) -> Tensor:
        """uint8 [1, H, W, 3] -> float [1, 3, H, W], centred."""
        return images.permute(0, 3, 1, 2).float() - self.pixel_mean
