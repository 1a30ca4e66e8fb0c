"""`cosmos_utils` with upstream's signatures.

In the toy world it acts as the teacher there, by sight. In LIBERO it answers as the embedded teacher did
where it saw the same pictures (STAND_IN_ANSWERS).
"""

import hashlib
import json
import os
import pickle
import threading
import time

import numpy as np

HUB = "nvidia/Cosmos-Policy-LIBERO-Predict2-2B"
t5_text_embeddings_cache = {}
_asked = 0
_thread = None


def _file(path):
    """As upstream: relative and of three parts or more is a file on the hub, which has those of `HUB`."""
    if len(path.split("/")) >= 3 and not path.startswith(("/", "./", HUB)):
        raise FileNotFoundError(f"the hub has no file {path}")
    return path


def _checkpoint(path):
    """As upstream: relative and of two parts is a repository on the hub, which has `HUB` only."""
    parts = path.split("/")
    if len(parts) == 2 and not any(part.startswith(".") for part in parts) and path != HUB and parts[0]:
        raise FileNotFoundError(f"the hub has no repository {path}")
    return path


def load_dataset_stats(dataset_stats_path):
    assert _file(dataset_stats_path).startswith(HUB) or os.path.exists(dataset_stats_path)
    return {"actions_min": np.full(7, -1.0), "actions_max": np.full(7, 1.0), "path": dataset_stats_path}


def init_t5_text_embeddings_cache(t5_text_embeddings_path=None, worker_id=0):
    if os.path.exists(_file(t5_text_embeddings_path)) and t5_text_embeddings_cache == {}:
        with open(t5_text_embeddings_path, "rb") as stream:
            t5_text_embeddings_cache.update(pickle.load(stream))


def get_text_embedding(prompt):
    return np.full((1, 512, 1024), len(prompt), dtype=np.float32)


def get_model(cfg):
    _checkpoint(cfg.ckpt_path)
    time.sleep(float(os.environ.get("STAND_IN_LOADING", "0")))
    return object(), cfg


def get_action(
    cfg,
    model,
    dataset_stats,
    obs,
    task_label_or_embedding,
    seed=1,
    randomize_seed=False,
    num_denoising_steps_action=5,
    generate_future_state_and_value_in_parallel=True,
    worker_id=0,
    batch_size=1,
):
    """A chunk and its value; of the toy world's teacher: from the hand it sees (red) to the mark (green)."""
    global _asked, _thread
    assert task_label_or_embedding in t5_text_embeddings_cache
    assert _thread in (None, threading.get_ident()), "the model belongs to one thread"
    _thread = threading.get_ident()
    _asked += 1
    _keep(obs, task_label_or_embedding, cfg, seed, num_denoising_steps_action)
    time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")))
    if "STAND_IN_ANSWERS" in os.environ:
        return _known_answer(obs)
    hand, mark = (_place(obs["primary_image"], channel) for channel in (0, 1))
    rows = []
    for _ in range(cfg.chunk_size):
        row = np.zeros(7, dtype=np.float32)
        row[:2] = np.clip((mark - hand) / 0.02, -1.0, 1.0)
        hand = hand + 0.02 * row[:2]
        rows.append(row)
    value = float(np.clip(1.0 - np.linalg.norm(mark - hand) / 3.0, 0.0, 1.0))
    return {"actions": _faulty(rows), "value_prediction": _faulty_value(value), "generated_latent": object()}


def _known_answer(obs):
    """What the embedded teacher said where these pictures were seen."""
    seen = hashlib.sha256(obs["primary_image"].tobytes() + obs["wrist_image"].tobytes()).hexdigest()
    with np.load(os.environ["STAND_IN_ANSWERS"]) as answers:
        actions, value = answers[f"{seen} actions"], float(answers[f"{seen} value"])
    return {"actions": list(actions), "value_prediction": value, "generated_latent": object()}


def _place(image, channel):
    """Centre of a square's colour, in the toy world's coordinates, (row, column)."""
    rows, columns = np.nonzero(image[:, :, channel])
    middle = np.array([(rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2])
    return 2 * middle / (len(image) - 1) - 1


def _faulty(rows):
    fault = os.environ.get("STAND_IN_FAULT", "")
    if fault == "raise":
        raise RuntimeError("out of memory\nin two lines")
    if fault == "rows":
        return rows[:10]
    if fault == "nan" or (fault == "nan once" and _asked == 1):
        return [np.full(7, np.nan, dtype=np.float32), *rows[1:]]
    if fault == "large":
        return [np.full(7, 3.0, dtype=np.float32), *rows[1:]]
    return rows


def _faulty_value(value):
    return 1.5 if os.environ.get("STAND_IN_FAULT") == "value" else value


def _keep(obs, prompt, cfg, seed, steps):
    folder = os.environ.get("STAND_IN_LOG")
    if not folder:
        return
    settings = {
        "prompt": prompt,
        "seed": seed,
        "steps": steps,
        "jpeg": cfg.use_jpeg_compression,
        "crop": cfg.trained_with_image_aug,
        "checkpoint": cfg.ckpt_path,
    }
    name = f"{os.getpid()}-{_asked:05d}"
    np.savez(os.path.join(folder, f"{name}.npz"), **obs)
    with open(os.path.join(folder, f"{name}.json"), "w") as stream:
        json.dump(settings, stream)
