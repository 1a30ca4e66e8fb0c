"""The configuration class of upstream's LIBERO evaluation, the fields that inference needs."""

from dataclasses import dataclass


@dataclass
class PolicyEvalConfig:
    suite: str = "libero"
    config: str = ""
    ckpt_path: str = ""
    config_file: str = ""
    dataset_stats_path: str = ""
    t5_text_embeddings_path: str = ""
    use_third_person_image: bool = True
    use_wrist_image: bool = True
    use_proprio: bool = True
    normalize_proprio: bool = True
    unnormalize_actions: bool = True
    chunk_size: int = 16
    num_open_loop_steps: int = 16
    trained_with_image_aug: bool = True
    use_jpeg_compression: bool = True
    flip_images: bool = True
    num_denoising_steps_action: int = 5
    num_denoising_steps_future_state: int = 1
    num_denoising_steps_value: int = 1
    seed: int = 7
