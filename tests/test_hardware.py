import json
import threading
import time
from types import SimpleNamespace

import pynvml
import pytest
from tiny_training import Kill, TinyDataModule, tiny_module, tiny_trainer

from callbacks.hardware import HardwareMonitor
from lit_distill import hardware
from lit_distill.errors import LitDistillError
from lit_distill.hardware import NOT_AVAILABLE, HardwareSampler, describe_hardware


@pytest.fixture
def no_nvml(monkeypatch):
    def absent():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    hardware._say_not_available.cache_clear()
    monkeypatch.setattr(pynvml, "nvmlInit", absent)


@pytest.fixture
def nvml(monkeypatch):
    """Two GPUs: the first idle, the second busier at every reading. Counts inits and shutdowns."""
    state = SimpleNamespace(open=0, asked=[], failing=False, utilization=iter(range(10, 1000, 10)))
    handles = {0: "first", 1: "second"}

    def utilization(handle):
        if state.failing:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        state.asked.append(handle)
        return SimpleNamespace(gpu=0 if handle == "first" else next(state.utilization))

    hardware._say_not_available.cache_clear()
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: setattr(state, "open", state.open + 1))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: setattr(state, "open", state.open - 1))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handles.__getitem__)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetHandleByUUID", {"GPU-aaaa": "first", "GPU-bbbb": "second"}.__getitem__
    )
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", utilization)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=512 * 1024 * 1024)
    )
    monkeypatch.setattr(hardware.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(hardware.torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(
        hardware.torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(uuid=["aaaa", "bbbb"][index]),
    )
    return state


def sampler_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hardware-sampler"]


def test_without_nvml_the_gpu_is_not_available_and_the_cpu_is_measured(no_nvml, caplog):
    for _ in range(2):
        with HardwareSampler(interval=0.01) as sampler:
            end = time.perf_counter() + 0.1
            while time.perf_counter() < end:
                pass
    summary = sampler.summary()
    assert summary["gpu_utilization_percent"] == summary["gpu_memory_mib"] == NOT_AVAILABLE
    assert summary["cpu_percent"]["max"] > 0
    assert summary["rss_mib"]["max"] >= summary["rss_mib"]["mean"] > 10
    assert json.loads(json.dumps(summary)) == summary
    assert len([record for record in caplog.records if NOT_AVAILABLE in record.message]) == 1


def test_with_nvml_the_gpu_that_torch_uses_is_sampled(nvml):
    with HardwareSampler(interval=0.01) as sampler:
        while len(nvml.asked) < 2:
            time.sleep(0.005)
        assert nvml.open == 1
    count = len(nvml.asked)
    assert set(nvml.asked) == {"second"}
    summary = sampler.summary()
    assert summary["gpu_utilization_percent"] == {"mean": 5.0 * (count + 1), "max": 10.0 * count}
    assert summary["gpu_memory_mib"] == {"mean": 512.0, "max": 512.0}
    assert nvml.open == 0


def test_an_error_inside_closes_everything(nvml):
    def fail():
        assert sampler_threads()
        raise RuntimeError("inside")

    sampler = HardwareSampler(interval=60.0)
    with pytest.raises(RuntimeError, match="inside"), sampler:
        fail()
    assert not sampler_threads()
    assert nvml.open == 0
    assert sampler.summary()["gpu_utilization_percent"]["max"] == 10.0  # the one sample, at exit


def test_a_gpu_that_stops_answering_is_not_fatal(nvml, caplog):
    nvml.failing = True
    with HardwareSampler(interval=0.01) as sampler:
        time.sleep(0.05)
    assert sampler.summary()["gpu_utilization_percent"] == NOT_AVAILABLE
    assert isinstance(sampler.summary()["cpu_percent"], dict)
    assert nvml.open == 0
    assert len([record for record in caplog.records if NOT_AVAILABLE in record.message]) == 1


def test_the_description_is_json_and_names_the_machine():
    description = describe_hardware()
    assert json.loads(json.dumps(description)) == description
    assert description["cpu"]
    assert description["cores"] >= 1
    assert description["torch"] == hardware.torch.__version__


def test_an_impossible_interval_is_refused():
    with pytest.raises(LitDistillError, match="interval"):
        HardwareSampler(interval=0)


def test_the_monitor_logs_what_there_is_and_stops(no_nvml, tmp_path):
    trainer = tiny_trainer(tmp_path, callbacks=[HardwareMonitor(interval=0.01)], max_epochs=1)
    trainer.fit(tiny_module(), datamodule=TinyDataModule())
    assert trainer.callback_metrics["hardware/rss_mib_max"] > 10
    assert not [name for name in trainer.callback_metrics if "gpu" in name]
    (values,) = trainer.test(tiny_module(), datamodule=TinyDataModule(), verbose=False)
    assert values["hardware/rss_mib_max"] > 10
    assert not sampler_threads()


def test_the_monitor_stops_when_training_fails(no_nvml, tmp_path):
    trainer = tiny_trainer(tmp_path, callbacks=[HardwareMonitor(), Kill(step=1)], max_epochs=1)
    with pytest.raises(RuntimeError, match="killed"):
        trainer.fit(tiny_module(), datamodule=TinyDataModule())
    assert not sampler_threads()
