"""The one error that bad input raises."""

from typing import Any


class InvalidArgument(ValueError):
    """A value outside its limits: says the argument's name, the value given and what is allowed.

    The command line turns `name` into its option, so that a limit is written once, in the
    library, and reads the same in both places.
    """

    def __init__(self, name: str, value: Any, allowed: str):
        """Say what was given and what is allowed."""
        super().__init__(f"{name} must be {allowed}; got {value!r}")
        self.name = name
        self.value = value
        self.allowed = allowed
