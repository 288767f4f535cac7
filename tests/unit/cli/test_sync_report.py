"""What `hlbq sync` says when it is done."""

from pathlib import Path

import pytest

from orchestrator.cli.sync import _report
from orchestrator.wandb_sync.syncing import SyncCounts


def test_the_folder_to_upload_is_quoted_and_its_pattern_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    _report(SyncCounts(runs=1, points=2), Path("two words"))
    assert "upload them with: wandb sync 'two words'/offline-run-*\n" in capsys.readouterr().err
