"""Which numeric precision trains fastest on this machine."""

from __future__ import annotations

import torch


def best_precision() -> str:
    """Lightning's name for the precision to train in: `bf16-mixed` where bfloat16 is native, else `32-true`.

    Emulated bfloat16 (older processors, older GPUs) is slower than float32, so only hardware support counts.
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"
