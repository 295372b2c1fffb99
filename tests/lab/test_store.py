"""The store: what is there is whole, what another process has is left to it, what the dead had is free again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pochette.errors import RunError
from pochette.lab.experiment import name_of, path
from pochette.lab.store import Store
from tests.lab.tasks import dense, result

ROOT = Path(__file__).resolve().parents[2]


def test_put_and_found_again(tmp_path: Path) -> None:
    store, whole, other = Store(tmp_path / "store"), dense(), dense(seed=1)
    assert store.missing([whole, other]) == [whole, other] and store.experiments() == []
    store.put(whole, result(0.25), b"weights")
    again = Store(tmp_path / "store")
    assert again.missing([whole, other]) == [other]
    assert again.results([whole, other]) == {whole: result(0.25)} and again.weights(whole) == b"weights"
    assert again.experiments() == [whole]


def test_results_are_small_and_apart_from_weights(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), dense()
    store.put(whole, result(), b"x" * 100_000)
    name = name_of(whole)
    kept = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "results").rglob("*") if p.is_file())
    assert kept == [f"results/{name[:2]}/{name}/experiment.json", f"results/{name[:2]}/{name}/result.json"]
    assert sum((tmp_path / p).stat().st_size for p in kept) < 4000
    # Git sees the results and not the work.
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    listed = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True
    ).stdout
    assert "result.json" in listed and "work/" not in listed


def test_a_result_that_is_there_stays(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), dense()
    store.put(whole, result(0.25), b"first")
    store.put(whole, result(0.75), b"second")
    assert store.result(whole).error == 0.25 and store.weights(whole) == b"second"


def test_what_was_half_written_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, whole = Store(tmp_path), dense()

    def full(source: object, target: object) -> None:
        if str(target).endswith("result.json"):
            raise OSError(28, "No space left on device")
        os.rename(str(source), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match="No space left"):
            store.put(whole, result(), b"weights")
    assert store.missing([whole]) == [whole]
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".result")]
    store.put(whole, result(), b"weights")
    assert store.missing([whole]) == []


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1}', '{"schema": 1, "result": {"error": 1}}'])
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    store, whole = Store(tmp_path), dense()
    store.put(whole, result(), b"")
    (store.results_folder(whole) / "result.json").write_text(text)
    with pytest.raises(RunError, match="damaged") as error:
        store.result(whole)
    assert name_of(whole) in error.value.where and "Delete" in error.value.remedy


@pytest.mark.parametrize("text", ["{", '{"schema": 1, "experiment": [], "result": []}', None])
@pytest.mark.parametrize("name", ["result.json", "experiment.json"])
def test_damaged_records_are_set_aside_and_others_stay(tmp_path: Path, name: str, text: str | None) -> None:
    if name == "result.json" and text is None:
        return  # then there is no record
    store, good, bad = Store(tmp_path), dense(), dense(seed=1)
    for experiment in (good, bad):
        store.put(experiment, result(), b"")
    if text is None:
        (store.results_folder(bad) / name).unlink()
    else:
        (store.results_folder(bad) / name).write_text(text)
    assert store.set_aside_damaged() == [store.results_folder(bad)]
    assert store.missing([good, bad]) == [bad] and store.experiments() == [good]
    assert store.set_aside_damaged() == []
    store.put(bad, result(), b"")
    assert store.result(bad) == result()


def test_records_of_a_later_version_are_not_set_aside(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), dense()
    store.put(whole, result(), b"")
    (store.results_folder(whole) / "result.json").write_text('{"schema": 99, "result": {}}')
    with pytest.raises(RunError, match="schema 99"):
        store.set_aside_damaged()
    assert store.has(whole)


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), dense()
    store.put(whole, result(), b"")
    (store.results_folder(whole) / "result.json").write_text('{"schema": 99, "result": {}}')
    with pytest.raises(RunError, match="schema 99"):
        store.result(whole)


def test_one_claim_at_a_time(tmp_path: Path) -> None:
    store, whole = Store(tmp_path), dense()
    claim = store.claim(whole)
    assert claim is not None
    assert Store(tmp_path).claim(whole) is None
    other = store.claim(path(whole, (0.5,), 1)[0])
    assert other is not None
    claim.release()
    again = Store(tmp_path).claim(whole)
    assert again is not None
    again.release()
    other.release()


HOLD = """
import sys, time
from pathlib import Path
from pochette.lab.store import Store
from tests.lab.tasks import dense
claim = Store(Path(sys.argv[1])).claim(dense())
print("held" if claim else "refused", flush=True)
time.sleep(60)
"""


def test_the_claim_of_a_killed_process_is_free(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "held\n"
            assert Store(tmp_path).claim(dense()) is None
        finally:
            os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    claim = Store(tmp_path).claim(dense())
    assert claim is not None
    claim.release()
