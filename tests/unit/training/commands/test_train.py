from __future__ import annotations

from pathlib import Path

from training.commands import train


def test_a_run_that_failed_leaves_no_empty_folders(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "fold0"
    (folder / "version_0").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    train._give_up(folder, is_named=True)
    assert not folder.exists()
    assert folder.parent.exists()
    folder.mkdir()
    train._give_up(folder, is_named=False)
    assert not folder.parent.exists()


def test_a_run_that_failed_leaves_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    (tmp_path / "version_0" / "metrics.csv").write_text("epoch\n")
    (tmp_path / "checkpoints").mkdir()
    train._give_up(tmp_path, is_named=True)
    assert (tmp_path / "version_0" / "metrics.csv").exists()
