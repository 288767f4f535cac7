"""Which device a worker takes, and what it says where there is none."""

from pathlib import Path

import pytest

from hlbgpt_core.errors import DeviceError
from worker.devices import choose_device

LISTING = """#!/bin/sh
echo '0, NVIDIA A100-SXM4-40GB, GPU-aaaa'
echo '1, NVIDIA A100-SXM4-40GB, GPU-bbbb'
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(LISTING)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_pinned_by_its_uuid() -> None:
    device = choose_device(1, None)
    assert device.name == "gpu1" and device.torch_device == "cuda:0"
    assert dict(device.environment)["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"


@pytest.mark.usefixtures("two_gpus")
def test_without_a_word_the_first_gpu_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device(None, None).name == "gpu0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert choose_device(None, None).name == "gpu1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device(None, None).name == "cpu"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match=r"no GPU 7 .*0 \(NVIDIA A100-SXM4-40GB\), 1 "):
        choose_device(7, None)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_the_cpu_and_a_clear_word_for_who_asked() -> None:
    assert choose_device(None, None).name == "cpu"
    assert choose_device(None, "cpu").torch_device == "cpu"
    with pytest.raises(DeviceError, match="no GPU 0 on this machine") as refused:
        choose_device(0, None)
    assert "--device cpu" in refused.value.hint


@pytest.mark.parametrize(("gpu", "device"), [(0, "cpu"), (None, "tpu")])
def test_what_makes_no_sense_is_refused(gpu: int | None, device: str | None) -> None:
    with pytest.raises(DeviceError):
        choose_device(gpu, device)
