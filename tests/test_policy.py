import numpy as np
import pytest
import torch

from lit_distill.errors import LitDistillError
from lit_distill.networks.log_std import LogStdHead
from lit_distill.networks.policy import StudentPolicy
from lit_distill.networks.student import StudentNetwork
from lit_distill.schema import ACTIONS, Observation


@pytest.fixture
def network():
    torch.manual_seed(0)
    return StudentNetwork(channels=[8, 8, 16], image_size=32, hidden=16)


@pytest.fixture
def observation():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    return Observation(
        agentview=images[0, ::-1],  # a negative stride, as flipping a rendered image leaves it
        wrist=images[1],
        proprio=rng.normal(size=7).astype(np.float32),
        gripper_qpos=np.zeros(2, np.float32),
        eef_pos=np.zeros(3, np.float32),
        eef_quat=np.zeros(4, np.float32),
    )


def test_a_chunk_is_the_networks_answer_for_this_task(network, observation):
    chunk = StudentPolicy(network, task_index=3).act(observation)
    assert chunk.dtype == ACTIONS.dtype and chunk.shape == ACTIONS.shape
    expected = network(
        torch.tensor(observation.agentview.copy())[None],
        torch.tensor(observation.wrist)[None],
        torch.tensor(observation.proprio)[None],
        torch.tensor([3]),
    )
    np.testing.assert_array_equal(chunk, expected[0].detach().numpy())
    assert not np.array_equal(chunk, StudentPolicy(network, task_index=4).act(observation))


def test_actions_are_left_for_the_rollout_to_clip_and_count(network, observation):
    with torch.no_grad():
        network.head[2].bias.fill_(5.0)
        network.head[2].bias[0] = -5.0
    chunk = StudentPolicy(network, task_index=0).act(observation)
    assert chunk.max() > 1.0
    assert chunk[0, 0] < -1.0


def test_non_finite_actions_are_handed_on(network, observation):
    with torch.no_grad():
        network.head[2].bias[0] = float("nan")
    chunk = StudentPolicy(network, task_index=0).act(observation)
    assert np.isnan(chunk[0, 0])
    assert np.isfinite(chunk[1:]).all()


@pytest.mark.parametrize("index", [-1, 15])
def test_an_unknown_task_is_refused(network, index):
    with pytest.raises(LitDistillError, match=rf"tasks 0\.\.14, got {index}"):
        StudentPolicy(network, task_index=index)


def test_sampled_chunks_have_the_mean_and_the_deviations_of_the_students_gaussian(network, observation):
    head = LogStdHead(network.feature_dim)
    with torch.no_grad():
        head[0].bias.copy_(torch.linspace(-3.0, -1.0, 112))
    policy = StudentPolicy(network, 3, log_std_head=head)
    random = np.random.default_rng(0)
    chunks = np.array([policy.sample(observation, random) for _ in range(500)])
    assert chunks.dtype == ACTIONS.dtype and chunks.shape[1:] == ACTIONS.shape
    std = np.exp(np.linspace(-3.0, -1.0, 112)).reshape(16, 7)
    np.testing.assert_array_less(abs(chunks.mean(0) - policy.act(observation)), 5 * std / np.sqrt(500))
    np.testing.assert_allclose(chunks.std(0), std, rtol=0.2)


def test_the_same_generator_samples_the_same_chunk(network, observation):
    policy = StudentPolicy(network, 3, log_std_head=LogStdHead(network.feature_dim))
    one, same, other = (policy.sample(observation, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_nothing_is_sampled_without_a_log_std_head(network, observation):
    with pytest.raises(LitDistillError, match="^log_std_head: there is none"):
        StudentPolicy(network, 3).sample(observation, np.random.default_rng(0))
