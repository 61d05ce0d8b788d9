import os
from pathlib import Path

import pytest

from components.shared import cpus
from components.shared.cpus import usable_cpus


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight CPUs this process may run on, and no cgroup."""
    monkeypatch.setattr(cpus, "_CGROUP_2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpus, "_CGROUP_1", tmp_path / "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def test_without_a_cgroup_the_affinity_counts() -> None:
    assert usable_cpus() == 8


def test_where_affinity_is_unknown_the_machines_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("3200000 100000", 8),
        ("max 100000", 8),
        ("", 8),
        ("max", 8),
        ("many 100000", 8),
    ],
)
def test_a_pods_limit_counts_and_nonsense_does_not(tmp_path: Path, content: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{content}\n")
    assert usable_cpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 8), ("50000", 1)])
def test_the_older_cgroups_limit_counts_too(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus() == expected


def test_a_period_of_zero_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 0\n")
    assert usable_cpus() == 8


@pytest.mark.parametrize(("granted", "expected"), [("2", 2), ("64", 8), ("0", 1), ("", 8), ("many", 8), ("-1", 8)])
def test_a_share_of_the_machine_counts_and_nonsense_does_not(
    monkeypatch: pytest.MonkeyPatch, granted: str, expected: int
) -> None:
    monkeypatch.setenv(cpus.CPUS, granted)
    assert usable_cpus() == expected
