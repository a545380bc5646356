"""What of the machine changes a timing, beside its parts: the processors' frequency, and other work on them."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

_SYSTEM, _STAT = Path("/sys/devices/system/cpu"), Path("/proc/stat")


def governor() -> str | None:
    """How the system sets the processors' frequency, each way once; None where it does not tell."""
    found = {path.read_text().strip() for path in _SYSTEM.glob("cpu*/cpufreq/scaling_governor")}
    return ", ".join(sorted(found)) or None


def watch_others() -> Callable[[], float | None]:
    """Begins to watch; the function says how many cores were busy since, in the mean, with anything else.

    Anything but the processes that this one has started and waited for; a virtual machine's stolen time is among it.
    None where the system does not tell.
    """
    started, before, own_before = time.perf_counter(), _busy_s(), _own_s()

    def others() -> float | None:
        after = _busy_s()
        if before is None or after is None:
            return None
        seconds = (after - before) - (_own_s() - own_before)
        return round(max(0.0, seconds / (time.perf_counter() - started)), 3)

    return others


def _busy_s() -> float | None:
    """Seconds, of all cores together, that were not idle since the system was started (proc(5))."""
    if not _STAT.is_file():
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, _STAT.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Seconds of this process and of those that it waited for."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in of)
