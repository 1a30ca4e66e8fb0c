"""Networks: the student policy, its augmentation, checkpoints and the policy that acts with it."""
