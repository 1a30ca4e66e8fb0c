"""Recorded frames -> mp4, GIF and filmstrips."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from PIL import Image

FRAMES_PER_SECOND = 10
"""Playback speed: twice as fast as the robot moved (a frame every 4 control steps of 20 Hz)."""


def write_mp4(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write frames (uint8 [H, W, 3], even H and W) as an mp4 file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.mimwrite(path, list(frames), fps=FRAMES_PER_SECOND, macro_block_size=2, format="FFMPEG")
    return path


def encode_gif(frames: Sequence[np.ndarray]) -> bytes:
    """Encode frames (uint8 [H, W, 3]) as an animated GIF, which TensorBoard plays."""
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(
        buffer, "GIF", save_all=True, append_images=images[1:], duration=1000 // FRAMES_PER_SECOND, loop=0
    )
    return buffer.getvalue()


def filmstrip(frames: Sequence[np.ndarray], count: int = 8) -> np.ndarray:
    """Arrange `count` frames, evenly spread from the first to the last, in one row.

    Args:
        frames: uint8 [H, 2 W, 3], agentview beside wrist.

    Returns:
        uint8 [2 H, count W, 3], agentview above wrist.
    """
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, count).round().astype(int)]
    halves = [np.split(frame, 2, axis=1) for frame in chosen]
    return np.concatenate([np.concatenate(views, axis=0) for views in halves], axis=1)


def save_episode(folder: Path, state: str, outcome: str, frames: Sequence[np.ndarray]) -> Path:
    """Write an episode's video and filmstrip, `<state>-<outcome>.mp4` and `.png`; return the video's path.

    Args:
        folder: where to; what an earlier run left there of the same state goes.
        state: name of the initial state, `split/index`.
        outcome: how the episode ended.
        frames: uint8 [H, 2 W, 3], even H and W.
    """
    stem = state.replace("/", "-")
    for earlier in folder.glob(f"{stem}-*"):
        earlier.unlink()
    video = write_mp4(folder / f"{stem}-{outcome}.mp4", frames)
    Image.fromarray(filmstrip(frames)).save(video.with_suffix(".png"))
    return video
