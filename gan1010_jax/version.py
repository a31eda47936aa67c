"""The versions that a result depends on."""

import platform
from importlib import metadata

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """The version of this package, of Python, and of the libraries that compute with it."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "gan1010_jax": __version__,
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
    }
