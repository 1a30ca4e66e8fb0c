"""Algorithms: LightningModules that are equations and nothing else."""
