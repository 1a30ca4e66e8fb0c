"""Videos: what is written can be read again and shows the frames."""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from PIL import Image

from lit_distill.videos import FRAMES_PER_SECOND, encode_gif, filmstrip, write_mp4


def frames(count: int, size: int = 32) -> list[np.ndarray]:
    """Agentview of one grey and wrist of another beside it, brighter in every frame."""
    made = []
    for index in range(count):
        frame = np.full((size, 2 * size, 3), 10 * index, dtype=np.uint8)
        frame[:, size:] += 100
        made.append(frame)
    return made


def test_an_mp4_file_shows_the_frames(tmp_path: Path):
    path = write_mp4(tmp_path / "new" / "episode.mp4", frames(9))
    with imageio.get_reader(path) as reader:
        assert reader.get_meta_data()["fps"] == FRAMES_PER_SECOND
        shown = list(reader.iter_data())
    assert len(shown) == 9
    for wanted, got in zip(frames(9), shown, strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got.astype(int) - wanted).mean() < 6


def test_a_gif_shows_the_frames():
    image = Image.open(io.BytesIO(encode_gif(frames(5))))
    assert image.format == "GIF"
    assert (image.n_frames, image.size) == (5, (64, 32))
    assert image.info["duration"] == 1000 // FRAMES_PER_SECOND
    for index, wanted in enumerate(frames(5)):
        image.seek(index)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), wanted)


def test_one_frame_is_a_gif_too():
    assert Image.open(io.BytesIO(encode_gif(frames(1)))).size == (64, 32)


def test_a_filmstrip_puts_agentview_above_wrist_from_first_to_last():
    strip = filmstrip(frames(9), count=3)
    assert strip.shape == (64, 96, 3)
    assert strip[:32, ::32, 0][0].tolist() == [0, 40, 80]
    assert strip[32:, ::32, 0][0].tolist() == [100, 140, 180]


def test_a_short_episode_fills_its_filmstrip():
    assert filmstrip(frames(2), count=4)[0, ::32, 0].tolist() == [0, 0, 10, 10]
