"""LightningDataModules over shards: what is selected, ordered, batched."""

from datamodules.chunks import ChunkDataModule

__all__ = ["ChunkDataModule"]
