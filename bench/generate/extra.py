"""What generating needs beside the packages that are always there, and where and how it computes."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from bench.errors import UsageError

if TYPE_CHECKING:
    import torch

#: What a network computes in; auto is the best that a device has.
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def diffusers() -> ModuleType:
    """The library of that name. Raises UsageError where it, or what it needs for captions, is not installed."""
    try:
        importlib.import_module("transformers")
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise UsageError(
            f"`generate` needs the package {error.name}: pip install 'descriptor-bench[generate]'"
        ) from error


def resolve_precision(name: str, device: str) -> str:
    """The precision of that name; auto means bf16 on a GPU that has it, else fp16, and fp32 anywhere else.

    Raises UsageError where there is none of that name, or the device lacks it.
    """
    import torch

    if name not in PRECISIONS:
        raise UsageError(f"there is no precision '{name}': choose {', '.join(PRECISIONS)}")
    if not device.startswith("cuda"):
        if name not in ("auto", "fp32"):
            raise UsageError(f"the precision {name} is for a GPU, and the device is {device}: choose fp32")
        return "fp32"
    if name == "auto":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return name


def dtype_of(precision: str) -> "torch.dtype":
    """torch's type of fp32, bf16 or fp16."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
