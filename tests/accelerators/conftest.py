"""Where the compilers of accelerators write what they report."""

import jax
import pytest
from compilers import choose_dump


@pytest.fixture(scope="session")
def dump(tmp_path_factory):
    """The folder that the TPU's compiler writes to, in a process that takes no accelerator."""
    folder = tmp_path_factory.mktemp("dump")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # which cannot load a TPU's programs
    choose_dump(folder)
    return folder
