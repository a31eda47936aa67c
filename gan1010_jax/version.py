"""The versions that a result depends on, and what differs between them."""

import platform
from importlib import metadata

import jax
from jax import experimental

__version__ = "0.1.0"

# JAX's x64 mode, in a `with`; JAX 0.7, which Colab has, keeps it among its experiments.
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64


def versions() -> dict[str, str]:
    """The version of this package, of Python, and of the libraries that compute with it."""
    libraries = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "gan1010_jax": __version__,
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in libraries},
    }
