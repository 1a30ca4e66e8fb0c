import pytest
import torch

from lit_distill.errors import LitDistillError
from lit_distill.networks.student import STD_FLOOR, SpatialSoftmax, StudentNetwork, WeightedAverage


def tiny(**arguments) -> StudentNetwork:
    return StudentNetwork(**{"channels": [8, 8, 16], "image_size": 32, "hidden": 16, **arguments})


def inputs(batch: int = 2, size: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, batch, size, size, 3), dtype=torch.uint8, generator=generator)
    proprio = torch.randn(batch, 7, generator=generator)
    return images[0], images[1], proprio, torch.arange(batch)


def test_default_is_the_papers_size_and_has_the_papers_widths():
    network = StudentNetwork()
    assert network.feature_dim == 128 + 128 + 32 + 32
    assert network.head[0].in_features == 320
    assert network.head[2].out_features == 16 * 7
    # Two encoders (conv weights and biases, GroupNorm pairs), proprio, embedding, head.
    encoder = (3 * 32 * 25 + 32) + (32 * 64 * 9 + 64) + (64 * 128 * 9 + 128) + 2 * (32 + 64 + 128)
    head = 320 * 256 + 256 + 256 * 112 + 112
    assert network.parameter_count == 2 * encoder + (7 * 32 + 32) + 15 * 32 + head == 302_160


@pytest.mark.parametrize("pooling", ["average", "weighted_average", "spatial_softmax"])
@pytest.mark.parametrize("size", [32, 36])
def test_every_pooling_gives_the_same_widths_and_trains_every_parameter(pooling, size):
    network = tiny(pooling=pooling, image_size=size)
    arguments = inputs(size=size)
    assert network.encode(*arguments).shape == (2, 16 + 16 + 32 + 32)
    chunk = network(*arguments)
    assert chunk.shape == (2, 16, 7)
    chunk.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_weighted_average_starts_as_the_average_and_weighs_positions():
    pooling = WeightedAverage(channels=1, size=2)
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert pooling(maps).item() == 3.0
    with torch.no_grad():
        pooling.weight[0, 0, 1] = 5.0  # (1 + 5 * 2 + 3 + 6) / 4
    assert pooling(maps).item() == 5.0


def test_spatial_softmax_returns_where_the_heat_is_columns_first():
    pooling = SpatialSoftmax(channels=2)
    with torch.no_grad():
        pooling.heat_maps.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
    maps = torch.zeros(1, 2, 3, 5)
    maps[0, 0, 2, 1] = 100.0  # row 2 of 0..2 -> +1, column 1 of 0..4 -> -0.5
    torch.testing.assert_close(pooling(maps), torch.tensor([[-0.5, 1.0]]))


def test_views_are_encoded_apart_and_images_are_seen_upright():
    network = tiny()
    agentview, wrist, proprio, task = inputs()
    chunk = network(agentview, wrist, proprio, task)
    assert not torch.allclose(chunk, network(wrist, agentview, proprio, task))
    pixels = network._pixels("agentview", agentview)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    expected = (agentview[1, 4, 9, 2].item() - 127.5) / 127.5
    assert pixels[1, 2, 4, 9].item() == pytest.approx(expected)


def test_the_task_changes_the_answer():
    network = tiny()
    agentview, wrist, proprio, _ = inputs()
    first = network(agentview, wrist, proprio, torch.tensor([0, 0]))
    assert not torch.allclose(first, network(agentview, wrist, proprio, torch.tensor([0, 14]))[1:])


def test_under_autocast_only_the_images_lose_precision():
    network = tiny()
    agentview, wrist, proprio, task = inputs()
    exact = network.encode(agentview, wrist, proprio, task)
    with torch.autocast("cpu", torch.bfloat16):
        features = network.encode(agentview, wrist, proprio, task)
        chunk = network(agentview, wrist, proprio, task)
    assert features.dtype == chunk.dtype == torch.float32
    assert torch.equal(features[:, 32:], exact[:, 32:])
    assert not torch.equal(features[:, :32], exact[:, :32])
    assert torch.equal(chunk, network.head(features))


def test_statistics_normalise_proprioception_and_travel_in_the_state():
    network = tiny()
    mean, std = [0.5] * 7, [0.1] * 6 + [1e-9]
    agentview, wrist, _, task = inputs()
    proprio = torch.full((2, 7), 0.7)
    plain = network(agentview, wrist, torch.tensor([2.0] * 6 + [0.2 / STD_FLOOR]).expand(2, 7), task)
    network.set_statistics(mean, std)
    torch.testing.assert_close(network(agentview, wrist, proprio, task), plain)
    other = tiny()
    other.load_state_dict(network.state_dict())
    assert other.proprio_mean.tolist() == network.proprio_mean.tolist() == [0.5] * 7
    assert other.proprio_std[6].item() == pytest.approx(STD_FLOOR)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"channels": [8, 8]}, "channels"),
        ({"channels": [8, 8, 12]}, "channels.*multiple of 8"),
        ({"kernel_sizes": [5, 4, 3]}, "kernel_sizes.*odd"),
        ({"strides": [4, 2, 0]}, "strides"),
        ({"pooling": "max"}, "pooling.*average, weighted_average, spatial_softmax.*'max'"),
        ({"image_size": 8}, "image_size"),
        ({"hidden": 0}, "hidden"),
        ({"num_tasks": 0}, "num_tasks"),
    ],
)
def test_impossible_arguments_are_named(arguments, named):
    with pytest.raises(LitDistillError, match=named):
        tiny(**arguments)


def test_wrong_images_and_statistics_are_named():
    network = tiny()
    agentview, wrist, proprio, task = inputs()
    with pytest.raises(LitDistillError, match=r"wrist.*32, 32.*uint8 \[2, 16, 16, 3\]"):
        network(agentview, wrist[:, ::2, ::2], proprio, task)
    with pytest.raises(LitDistillError, match="agentview.*float32"):
        network(agentview.float(), wrist, proprio, task)
    with pytest.raises(LitDistillError, match="proprio_mean"):
        network.set_statistics([0.0] * 6, [1.0] * 7)
    with pytest.raises(LitDistillError, match="proprio_std"):
        network.set_statistics([0.0] * 7, [float("nan")] * 7)
    with pytest.raises(LitDistillError, match="negative"):
        network.set_statistics([0.0] * 7, [-1.0] * 7)
