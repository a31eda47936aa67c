"""The environment of a result: versions, precision, the processor; and a typed `jit`."""

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax import experimental

__version__ = "0.1.0"

_Function = TypeVar("_Function", bound=Callable[..., Any])

# JAX's x64 mode as a context manager; JAX 0.7, which Colab has, keeps it in `jax.experimental`.
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64


def in_dtype(name: str) -> AbstractContextManager[None]:
    """A context in which this is JAX's default float type, float32 or float64."""
    return enable_x64(name == "float64")


def jit(**options: Any) -> Callable[[_Function], _Function]:
    """`jax.jit` with options, as a decorator after which type checkers still see the signature."""
    return cast(Callable[[_Function], _Function], partial(jax.jit, **options))


def versions() -> dict[str, str]:
    """The versions of this package, of Python, and of the libraries that compute with it."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "gan1010_jax": __version__,
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
    }


def count_cores() -> int:
    """How many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_avx512() -> bool:
    """Whether the processor has AVX-512, by NumPy's detection."""
    return bool({"AVX512F", "X86_V4"} & set(_instruction_sets()))


def _instruction_sets() -> list[str]:
    """The processor's, by NumPy's names."""
    return np.show_config(mode="dicts")["SIMD Extensions"]["found"]


def describe_device() -> str:
    """The device that trains, in words."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return f"CPU with {os.cpu_count()} cores"
    return device.device_kind


def describe_processor() -> str:
    """The processor's model and all its instructions, as far as the system tells."""
    named = ("vendor", "cpu family", "model", "stepping", "flags", "Features", "CPU ", "isa")
    try:
        first, *_ = Path("/proc/cpuinfo").read_text().split("\n\n")
    except OSError:
        return " ".join([platform.platform(), platform.processor()])
    return "\n".join(line for line in first.splitlines() if line.startswith(named))


def describe_machine() -> dict[str, str]:
    """What may decide the bits of a result beside versions and configuration, in words."""
    return {
        "device": describe_device(),
        "processor": " ".join([platform.machine(), *_instruction_sets()]),
        "XLA_FLAGS": " ".join(os.environ.get("XLA_FLAGS", "").split()),
    }
