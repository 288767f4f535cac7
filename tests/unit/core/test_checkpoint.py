"""Checkpoints on disk: whole, private, hashed, and refused when they are not what was written."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.points import SavedCheckpoint
from hlbgpt_core.training.checkpoint import Checkpoint, check_identity, read_checkpoint, write_checkpoint
from tests.small_runs import checkpointing_in, small_settings

CHECKPOINT = Checkpoint(
    step=7,
    identity={"seed": 3},
    state={"loss": 0.1 + 0.2, "step": 7},
    parameters={"weight": torch.arange(6, dtype=torch.bfloat16).view(2, 3), "scalar": torch.tensor(0.01)},
    optimizer={"weight/exp_avg": torch.ones(2, 3, dtype=torch.float64)},
)


@pytest.fixture
def saved(tmp_path: Path) -> SavedCheckpoint:
    return write_checkpoint(checkpointing_in(tmp_path), CHECKPOINT)


def test_reading_gives_what_was_written(saved: SavedCheckpoint, tmp_path: Path) -> None:
    assert (saved.path, saved.step) == ("checkpoints/a1b2/1-7", 7)
    found = read_checkpoint(tmp_path, saved)
    assert (found.step, found.identity, found.state) == (7, CHECKPOINT.identity, CHECKPOINT.state)
    for name, tensor in CHECKPOINT.parameters.items():
        assert found.parameters[name].dtype == tensor.dtype and torch.equal(found.parameters[name], tensor)
    assert torch.equal(found.optimizer["weight/exp_avg"], CHECKPOINT.optimizer["weight/exp_avg"])


def test_it_is_private_and_holds_no_pickle(saved: SavedCheckpoint, tmp_path: Path) -> None:
    folder = tmp_path / saved.path
    assert sorted(file.name for file in folder.iterdir()) == [
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads((folder / "manifest.json").read_text())["files"].keys() == {
        "model.safetensors",
        "optimizer.safetensors",
    }


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "missing"])
def test_damage_is_found(name: str, damage: str, saved: SavedCheckpoint, tmp_path: Path) -> None:
    file = tmp_path / saved.path / name
    content = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(content[:-1])
        case "flip":
            file.write_bytes(bytes([content[0] ^ 64]) + content[1:])
        case "empty":
            file.write_bytes(b"")
        case "missing":
            file.unlink()
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(tmp_path, saved)


def test_another_version_is_refused(saved: SavedCheckpoint, tmp_path: Path) -> None:
    import hashlib

    file = tmp_path / saved.path / "manifest.json"
    content = file.read_text().replace('"version": 1', '"version": 2').encode()
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="another version"):
        read_checkpoint(tmp_path, replace(saved, sha256=hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("path", ["../outside", "/etc", "checkpoints/../../x"])
def test_a_path_out_of_the_state_folder_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not inside"):
        read_checkpoint(tmp_path, SavedCheckpoint(path=path, sha256="0", step=1))


def test_a_second_write_of_the_same_step_replaces_the_first(saved: SavedCheckpoint, tmp_path: Path) -> None:
    again = write_checkpoint(checkpointing_in(tmp_path), CHECKPOINT)
    assert again == saved
    assert read_checkpoint(tmp_path, again).step == 7
    assert [folder.name for folder in (tmp_path / "checkpoints" / "a1b2").iterdir()] == ["1-7"]


def test_a_write_that_fails_at_the_last_leaves_what_was_there(
    saved: SavedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, final = Path.rename, tmp_path / saved.path

    def fails(self: Path, target: Path) -> Path:
        if target == final and "replaced" not in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(checkpointing_in(tmp_path), CHECKPOINT)
    assert read_checkpoint(tmp_path, saved).step == 7
    assert [folder.name for folder in final.parent.iterdir()] == ["1-7"]


def test_a_setting_that_was_added_since_is_at_its_default() -> None:
    expected = {"settings": small_settings().to_dict()}
    older = {name: value for name, value in expected["settings"].items() if name != "test_tokens"}
    check_identity(replace(CHECKPOINT, identity={"settings": older}), expected)
    with pytest.raises(CheckpointError, match="its settings is"):
        changed = {"settings": small_settings(test_tokens=64).to_dict()}
        check_identity(replace(CHECKPOINT, identity={"settings": older}), changed)
