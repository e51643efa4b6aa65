"""Records and logs that are not what they should be: one sentence that names the file; a torn last line is mended."""

import json
from pathlib import Path

import pytest
from helpers import check_refusal, make_voc
from programs.bad_records import LOGS, RECORDS, WHOLE

from dsrg import config
from dsrg.cli import guard
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.page import record
from dsrg.predict import loading
from dsrg.run.engine import Journal, Log
from dsrg.run.folder import Run
from dsrg.run.records import read_log, read_record
from dsrg.run.stage import Stage

SOUND = ("settings of nothing", "settings of another kind", "without contents")
"""Records of the right form; what they say is compared with the run's settings."""
DOORS = {
    "finished": lambda stage: stage.finished,
    "figures": lambda stage: stage.figures,
    "seconds": lambda stage: stage.seconds,
    "begin": lambda stage: (stage.begin(), stage.finish({})),
}


def test_a_whole_record_is_read(tmp_path: Path) -> None:
    (tmp_path / "stage.json").write_text(json.dumps(WHOLE | {"figures": {"a": 1, "b": None, "c": {"cat": 0.5}}}))
    found = read_record(tmp_path / "stage.json")
    assert (found.finished, found.seconds, found.settings) == (True, 1.0, {"seed": 0})
    assert found.figures == {"a": 1, "b": None, "c": {"cat": 0.5}}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", [name for name in RECORDS if name not in SOUND])
def test_a_record_that_is_none_is_named_at_every_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, door: str
) -> None:
    path = tmp_path / "retrain/stage.json"
    path.parent.mkdir()
    path.write_bytes(RECORDS[name])
    stage = Stage(path.parent, {"seed": 0}, lambda: None)
    code = guard(lambda: DOORS[door](stage))
    text = capsys.readouterr()
    check_refusal((code, text.out, text.err), path)
    assert path.read_bytes() == RECORDS[name]


@pytest.mark.parametrize("name", SOUND[:2])
def test_a_record_of_other_settings_is_named_too(tmp_path: Path, name: str) -> None:
    (tmp_path / "stage.json").write_bytes(RECORDS[name])
    stage = Stage(tmp_path, {"seed": 5, "model.weights": "w.pth"}, lambda: None)
    with pytest.raises(InputError, match=r"stage\.json has all of its settings"):
        _ = stage.finished


@pytest.mark.parametrize("name", LOGS)
def test_a_log_is_mended_where_a_kill_tore_it_and_named_where_it_is_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LOGS[name])
    if name in ("empty", "torn"):
        assert read_log(path) == []
        Log(Journal(tmp_path), 0).close()  # a training from the start
        assert path.read_bytes() == b""
        path.write_bytes(LOGS[name])
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        Log(Journal(tmp_path), 4, logged=4)  # one that goes on misses the lines up to its checkpoint
    assert path.read_bytes() == LOGS[name]


def test_a_log_keeps_the_lines_up_to_the_checkpoint(tmp_path: Path) -> None:
    lines = [json.dumps({"iteration": number, "loss": 0.1 * number, "lr": 1e-3}) for number in range(1, 6)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"iteration": 6, "lo')
    log = Log(Journal(tmp_path), 3, logged=3)
    log.close()
    assert log.lines == 3
    assert (tmp_path / "metrics.jsonl").read_text() == "\n".join(lines[:3]) + "\n"
    (tmp_path / "metrics.jsonl").unlink()  # the user may begin a new log
    Log(Journal(tmp_path), 3, logged=3).close()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\0", b"\xff", b"{"])
def test_an_environment_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    cfg = config.load(None, [f"data.root={make_voc(tmp_path / 'data')}", f"run_dir={tmp_path / 'run'}", "device=cpu"])
    run = Run(cfg)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/environment.json").write_bytes(content)
    for door in (lambda: record.environment(run), lambda: loading._record(tmp_path / "run", "retrain", cfg)):
        with pytest.raises(InputError, match=r"environment\.json: .*(delete it|replace the|save it anew)"):
            door()


def test_an_object_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(InputError, match=r"a\.json: holds no JSON object"):
        disk.read_object(tmp_path / "a.json")
