import pytest
import torch

from qtt.errors import ConfigError, EnvironmentFault
from qtt.support import machine
from qtt.support.machine import choose_device, on_gpu, trains_on_cpu, visible_gpus


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A machine of the given system, with the driver of a GPU or without one."""

    def make(system: str, gpu: bool) -> None:
        driver = tmp_path / "driver"
        driver.touch()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(machine.sys, "platform", system)
        monkeypatch.setattr(machine, "GPU_DRIVERS", (str(driver if gpu else tmp_path / "none"),))

    return make


@pytest.mark.parametrize(
    ("system", "gpu", "on_cpu"),
    [("linux", True, False), ("linux", False, True), ("darwin", False, True), ("win32", False, False)],
)
def test_auto_is_a_cpu_only_where_that_is_certain(host, system, gpu, on_cpu):
    host(system, gpu)
    assert trains_on_cpu("auto") is on_cpu


def test_settings_come_before_the_machine(host, monkeypatch):
    host("linux", gpu=True)
    assert trains_on_cpu("cpu")
    assert not trains_on_cpu(None), "an objective that does not say may run anywhere"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert trains_on_cpu("auto"), "a hidden GPU is none"
    host("linux", gpu=False)
    assert not trains_on_cpu("cuda")


@pytest.mark.parametrize(
    ("asked", "available", "chosen"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_a_gpu_is_taken_and_initialised_where_there_is_one(asked, available, chosen, monkeypatch):
    begun = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "init", lambda: begun.append(True))
    assert choose_device(asked) == chosen
    assert bool(begun) == (chosen == "cuda")


def test_one_of_several_gpus_is_made_the_current_one(monkeypatch):
    current = []
    for name, answer in (("is_available", True), ("init", None), ("device_count", 2)):
        monkeypatch.setattr(torch.cuda, name, lambda answer=answer: answer)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device("cuda:1") == "cuda:1"
    assert current == [1]
    assert on_gpu("cuda:1")
    assert not on_gpu("cpu")
    with pytest.raises(EnvironmentFault, match="device=cuda:2, but torch sees 2 GPUs, counted from 0"):
        choose_device("cuda:2")
    for name in ("gpu", "cuda:", "cuda:x", "CUDA", ""):
        with pytest.raises(ConfigError, match="There is no device"):
            choose_device(name)


def test_gpus_are_counted_without_torch(monkeypatch, tmp_path):
    for hidden, seen in (
        ("1,3", ("1", "3")),
        ("", ()),
        ("-1", ()),
        ("GPU-8f2a, GPU-77", ("GPU-8f2a", "GPU-77")),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert visible_gpus() == seen
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    monkeypatch.setattr("qtt.support.machine.DEVICES", tmp_path)
    assert visible_gpus() == ("0", "2", "10")


def test_a_gpu_that_is_asked_for_and_missing_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentFault, match="finds no CUDA device"):
        choose_device("cuda")
