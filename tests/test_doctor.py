"""The doctor tells what is there, what is not, and never falls over a broken driver."""

from __future__ import annotations

import json
import sys
import types

import pytest

from pochette import doctor as clinic
from pochette.doctor import Check, doctor


def by_name() -> dict[str, Check]:
    return {check.name: check for check in doctor()}


def test_every_check_says_cost_and_remedy_and_is_plain_data() -> None:
    checks = doctor()
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.cost and check.remedy
        assert bool(check.found) == check.present
    assert json.loads(json.dumps([check.to_json() for check in checks]))[0]["name"] == "python"


def test_python_and_the_sandbox_are_here() -> None:
    assert by_name()["python"].present
    assert by_name()["wasmtime"].present


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clinic.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(clinic.shutil, "which", lambda _: None)
    monkeypatch.setenv("CC", "")
    checks = by_name()
    absent = {name for name, check in checks.items() if not check.present}
    assert {"torch", "ziglang", "unicorn", "C compiler", "qemu-system-arm", "chromium"} <= absent
    assert "apt install qemu-user" in checks["qemu-aarch64"].remedy


def test_a_broken_driver_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(clinic.importlib, "import_module", broken)
    check = by_name()["audio output"]
    assert not check.present and "PortAudio" in check.cost


def test_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = [{"name": "speaker", "max_output_channels": 2}, {"name": "microphone", "max_output_channels": 0}]
    monkeypatch.setitem(sys.modules, "sounddevice", types.SimpleNamespace(query_devices=lambda: devices))
    assert by_name()["audio output"].found == "speaker"


def test_torch_is_not_imported() -> None:
    import subprocess

    code = "import sys; from pochette.doctor import doctor; doctor(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
