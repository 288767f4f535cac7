"""Every setting is a column of the exported table."""

import dataclasses

import pytest

from hlbgpt_core import settings
from hlbgpt_core.points import Split
from orchestrator.export.columns import run_columns


def names(*extra: tuple[Split, str]) -> list[str]:
    return [column.name for column in run_columns(extra)]


def test_every_setting_has_one_column() -> None:
    columns = names()
    assert len(set(columns)) == len(columns)
    assert set(settings.specs()) <= set(columns)


def test_columns_of_the_test_follow_all_others() -> None:
    columns = names()
    tested = ["test_loss", "test_acc", "test_pplx", "test_bits_per_byte"]
    assert columns[-8:-4] == tested
    assert not [name for name in columns[:31] if "test" in name]


def test_a_new_setting_becomes_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = dataclasses.make_dataclass(
        "MadeUp",
        [("shiny_new_setting", float, settings.setting(0.5, help="made up"))],
        bases=(settings.Settings,),
        frozen=True,
        kw_only=True,
    )
    monkeypatch.setattr(settings, "Settings", made_up)
    assert "shiny_new_setting" in names()
    assert names()[:3] == ["last_val_loss", "model_scale", "depth"]


def test_users_metrics_come_last() -> None:
    assert names(*((split, "z_loss") for split in Split))[-3:] == ["train_z_loss", "val_z_loss", "test_z_loss"]
