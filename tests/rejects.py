"""The assertion of every test of a rejected argument."""

from contextlib import contextmanager

import numpy as np
import pytest

import gan1010_jax as gan

ANY = object()


@contextmanager
def rejects(name=ANY, value=ANY):
    """Expect an `InvalidArgument` and, if given, of this argument's name and with this value."""
    with pytest.raises(gan.InvalidArgument) as caught:
        yield caught
    assert name is ANY or caught.value.name == name, caught.value
    if value is not ANY:
        np.testing.assert_equal(caught.value.value, value)
