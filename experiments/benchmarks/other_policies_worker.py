"""The other side of `other_policies.py`: policies of other projects, timed in their own environment.

Started by `other_policies.py` with that environment's Python; knows nothing of lit_distill. One JSON object
a line: at first `{about: {policy: what it is | "not available: reason"}, torch: version}`, then an answer to
each request `{policy, threads, calls, seconds}`: `{ms: [of each call]}` or `{error: one line}`.

All policies have random weights, and look at the same made-up observation: two views, uint8 RGB, and seven
numbers of proprioception, from numpy arrays to a numpy answer; batch 1.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import numpy as np
from turns import turn

CHUNK, ACTION, PROPRIO = 16, 7, 7
VIEWS = ("agentview", "wrist")


class Candidate(NamedTuple):
    """A policy that can be timed.

    Attributes:
        infer: observation in, answer out.
        about: what it is.
    """

    infer: Callable[[], Any]
    about: dict[str, Any]


def observation(size: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Views by name, uint8 [H, H, 3], and proprioception, float32 [7]."""
    random = np.random.default_rng(0)
    views = {name: random.integers(0, 256, (size, size, 3), dtype=np.uint8) for name in VIEWS}
    return views, random.normal(size=PROPRIO).astype(np.float32)


def torchvision_operators(torch: Any) -> Any:
    """Let torchvision be imported beside a torch whose build its compiled operators do not fit.

    Its import then fails for want of the operators that it describes to torch's compiler; no network here
    uses one, so that it is enough that they have a name. What is returned must be kept.
    """
    spec = importlib.util.find_spec("torchvision")
    places = (spec.submodule_search_locations if spec else None) or []
    try:
        for place in places:
            torch.ops.load_library(os.path.join(place, "_C.so"))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        return library
    return None


def make_act(size: int) -> dict[str, Candidate]:
    """LeRobot's ACT with its own defaults but for the chunk: 16 actions, as ours.

    `act` is what LeRobot does between an observation and a chunk: its conversion of images, its processors
    (normalisation), the network, its inverse processor. `act_network` is the network alone, on tensors that
    are ready.
    """
    import torch
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.act.processor_act import make_act_pre_post_processors

    image = {
        f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, size, size)) for name in VIEWS
    }
    config = ACTConfig(
        input_features={**image, "observation.state": PolicyFeature(FeatureType.STATE, (PROPRIO,))},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        chunk_size=CHUNK,
        n_action_steps=CHUNK,
        pretrained_backbone_weights=None,  # nothing is downloaded; the weights do not matter here
        device="cpu",
    )
    policy = ACTPolicy(config).eval()
    shapes = {name: (3, 1, 1) for name in image} | {"observation.state": (PROPRIO,), "action": (ACTION,)}
    statistics = {
        name: {"mean": torch.full(shape, 0.5), "std": torch.full(shape, 0.25)}
        for name, shape in shapes.items()
    }
    before, after = make_act_pre_post_processors(config, statistics)
    views, proprio = observation(size)

    def batch() -> dict[str, torch.Tensor]:
        tensors = {
            f"observation.images.{name}": torch.from_numpy(view).permute(2, 0, 1).float().div(255.0)
            for name, view in views.items()
        }
        return before({**tensors, "observation.state": torch.from_numpy(proprio)})

    def act() -> np.ndarray:
        with torch.inference_mode():
            return after(policy.predict_action_chunk(batch()))[0].numpy()

    ready = batch()

    def network() -> torch.Tensor:
        with torch.inference_mode():
            return policy.predict_action_chunk(ready)

    if act().shape != (CHUNK, ACTION):
        raise ValueError(f"ACT's answer has shape {act().shape}")
    about = {
        "from": f"lerobot {importlib.metadata.version('lerobot')}",
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "actions_per_call": CHUNK,
    }
    return {"act": Candidate(act, about), "act_network": Candidate(network, about)}


def make_robomimic_bc(size: int) -> dict[str, Candidate]:
    """robomimic's BC-RNN-GMM for images, with the settings of its study; one action per call.

    The crop keeps the study's share of the picture (76 of 84 pixels).
    """
    import torch
    from robomimic.algo import RolloutPolicy, algo_factory
    from robomimic.config import config_factory
    from robomimic.utils import obs_utils

    config = config_factory("bc")
    with config.values_unlocked():
        config.train.cuda = False
        config.observation.modalities.obs.low_dim = ["proprio"]
        config.observation.modalities.obs.rgb = list(VIEWS)
        encoder = config.observation.encoder.rgb
        encoder.core_class = "VisualCore"
        encoder.core_kwargs.feature_dimension = 64
        encoder.core_kwargs.backbone_class = "ResNet18Conv"
        encoder.core_kwargs.backbone_kwargs.pretrained = False
        encoder.core_kwargs.backbone_kwargs.input_coord_conv = False
        encoder.core_kwargs.pool_class = "SpatialSoftmax"
        encoder.core_kwargs.pool_kwargs.num_kp = 32
        encoder.obs_randomizer_class = "CropRandomizer"
        crop = round(size * 76 / 84)
        encoder.obs_randomizer_kwargs.crop_height = encoder.obs_randomizer_kwargs.crop_width = crop
        encoder.obs_randomizer_kwargs.num_crops = 1
        encoder.obs_randomizer_kwargs.pos_enc = False
        config.algo.actor_layer_dims = ()
        config.algo.gmm.enabled = config.algo.rnn.enabled = True
        config.algo.rnn.hidden_dim = 1000
    obs_utils.initialize_obs_utils_with_config(config)
    shapes = {"proprio": [PROPRIO]} | {name: [3, size, size] for name in VIEWS}
    model = algo_factory(config.algo_name, config, shapes, ACTION, torch.device("cpu"))
    policy = RolloutPolicy(model)
    policy.start_episode()
    views, proprio = observation(size)

    def act() -> np.ndarray:
        chw = {name: view.transpose(2, 0, 1).astype(np.float32) / 255.0 for name, view in views.items()}
        with torch.no_grad():
            return policy({**chw, "proprio": proprio})

    if act().shape != (ACTION,):
        raise ValueError(f"BC-RNN-GMM's answer has shape {act().shape}")
    about = {
        "from": f"robomimic {importlib.metadata.version('robomimic')}",
        "parameters": sum(parameter.numel() for parameter in model.nets.parameters()),
        "actions_per_call": 1,
    }
    return {"robomimic_bc": Candidate(act, about)}


MAKERS = {"act": make_act, "robomimic_bc": make_robomimic_bc}


def line_of(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def serve(
    candidates: Mapping[str, Candidate],
    requests: IO[str],
    answers: IO[str],
    set_threads: Callable[[int], None],
) -> None:
    """Answer until the requests end."""
    for line in requests:
        request = json.loads(line)
        try:
            set_threads(request["threads"])
            infer = candidates[request["policy"]].infer
            answer: dict[str, Any] = {"ms": turn(infer, request["calls"], request["seconds"])}
        except Exception as error:
            answer = {"error": line_of(error)}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Make the policies, say what there is, answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the packages print banners, which are no answers
    import torch

    kept = torchvision_operators(torch)
    torch.manual_seed(0)
    candidates: dict[str, Candidate] = {}
    about: dict[str, Any] = {}
    for name, make in MAKERS.items():
        try:
            candidates |= make(int(sys.argv[1]))
        except Exception as error:
            about[name] = f"not available: {line_of(error)}"
    about |= {name: candidate.about for name, candidate in candidates.items()}
    print(json.dumps({"about": about, "torch": torch.__version__}), file=answers, flush=True)
    serve(candidates, sys.stdin, answers, torch.set_num_threads)
    del kept


if __name__ == "__main__":
    main()
