import pytest
import torch

from lit_distill.precision import best_precision


@pytest.mark.parametrize(
    ("gpu", "gpu_native", "avx512_bf16", "amx", "expected"),
    [
        (False, False, False, False, "32-true"),
        (False, False, True, False, "bf16-mixed"),
        (False, False, False, True, "bf16-mixed"),
        (True, True, False, False, "bf16-mixed"),
        (True, False, True, True, "32-true"),  # an older GPU emulates it
    ],
)
def test_bfloat16_only_where_the_hardware_has_it(monkeypatch, gpu, gpu_native, avx512_bf16, amx, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_native)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert best_precision() == expected
