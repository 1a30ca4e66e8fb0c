"""What is known of every observation: by its number, of which student, and of which data."""

from __future__ import annotations

import pytest
import torch
from tiny_training import random_batch, tiny_network

from lit_distill.algorithms.encoded_observations import EncodedObservations
from lit_distill.errors import LitDistillError

CPU = torch.device("cpu")
KEYS = ("agentview", "wrist", "proprio", "task_index")
BATCHES = [tuple(random_batch(size, size)[key] for key in KEYS) for size in (4, 3)]
"""Seven observations."""


def test_features_and_answers_are_numbered_as_the_observations_come():
    encoder, student = tiny_network(0), tiny_network(1)
    known = EncodedObservations.of(encoder, BATCHES, CPU)
    known.update(student)
    assert known.features.shape == (7, encoder.feature_dim) and known.mean.shape == (7, 16, 7)
    together = [torch.cat(parts) for parts in zip(*BATCHES, strict=True)]
    torch.testing.assert_close(known.features, encoder.encode(*together))
    torch.testing.assert_close(known.mean, student(*together))


def test_an_update_takes_the_present_student_and_leaves_the_features_alone():
    encoder, student = tiny_network(0), tiny_network(1)
    known = EncodedObservations.of(encoder, BATCHES, CPU)
    known.update(student)
    features, before = known.features.clone(), known.mean
    with torch.no_grad():
        for weights in student.parameters():
            weights.add_(0.1)
    known.update(student)
    assert (known.mean != before).any()
    torch.testing.assert_close(known.mean, torch.cat([student(*batch) for batch in BATCHES]))
    assert torch.equal(known.features, features)


def test_nothing_of_it_has_a_gradient():
    known = EncodedObservations.of(tiny_network(0), BATCHES, CPU)
    known.update(tiny_network(1))
    assert not known.features.requires_grad and not known.mean.requires_grad


def test_a_resumed_run_goes_on_with_the_answers_of_the_last_update():
    before = EncodedObservations.of(tiny_network(0), BATCHES, CPU)
    before.update(tiny_network(1))
    after = EncodedObservations.of(tiny_network(0), BATCHES, CPU)
    after.update(tiny_network(2))
    after.load_state_dict(before.state_dict())
    assert torch.equal(after.mean, before.mean)


@pytest.mark.parametrize(("others", "count"), [(BATCHES[::-1], 7), (BATCHES[:1], 4)])
def test_answers_for_other_observations_are_refused(others: list[tuple[torch.Tensor, ...]], count: int):
    """Fewer, and as many in another order."""
    before = EncodedObservations.of(tiny_network(0), BATCHES, CPU)
    before.update(tiny_network(1))
    after = EncodedObservations.of(tiny_network(0), others, CPU)
    line = rf"^--ckpt_path: its run learnt from 7 observations, and the {count} of these data are others: "
    with pytest.raises(LitDistillError, match=line):
        after.load_state_dict(before.state_dict())
