import pytest

from qtt.support import machine
from qtt.support.machine import trains_on_cpu


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
