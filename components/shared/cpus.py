"""How many CPUs this process may really use: affinity and the cgroup's quota, not what the machine has."""

import math
import os
from pathlib import Path

CPUS = "PIPELINE_CPUS"  # how many of them this process may take, where it shares a machine with others of a run

_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = Path("/sys/fs/cgroup/cpu")


def usable_cpus() -> int:
    """CPUs to size thread pools by, at least 1; in a pod this follows its limit, not the node."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    granted = os.environ.get(CPUS, "")
    share = int(granted) if granted.isdecimal() else allowed
    return max(1, min(allowed, share, math.ceil(quota) if quota else allowed))


def _quota() -> float | None:
    try:
        if _CGROUP_2.is_file():
            limit, period = _CGROUP_2.read_text(encoding="ascii").split()
        else:
            limit = (_CGROUP_1 / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (_CGROUP_1 / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        return int(limit) / int(period) if limit not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
