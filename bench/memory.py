"""How this process asks the system for memory."""

import ctypes
import ctypes.util
import sys

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for the next layer instead of giving them back to the kernel.

    A forward pass on the CPU allocates and frees hundreds of megabytes a batch; by default each is returned and
    zeroed again page by page, which took over half of the time (docs/performance.md). Does nothing elsewhere.
    """
    library = ctypes.util.find_library("c") if sys.platform == "linux" else None
    mallopt = getattr(ctypes.CDLL(library), "mallopt", None) if library else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
