"""The errors that users meet."""

from pathlib import Path
from typing import Any

LONGEST_VALUE = 500  # characters of a message


class InvalidArgument(ValueError):
    """A value outside its limits: says the argument's name, the value given and what is allowed.

    The command line turns `name` into its option, so that a limit is written once, in the
    library, and reads the same in both places.
    """

    def __init__(self, name: str, value: Any, allowed: str):
        """Say what was given and what is allowed."""
        self.name = name
        self.value = value
        self.allowed = allowed
        super().__init__(self.explain(name))

    def explain(self, name: str) -> str:
        """The message, with a name for the argument such as the command line's."""
        try:
            given = repr(self.value)
        except Exception:  # such as of an integer with more digits than Python writes
            given = f"an object of type {type(self.value).__name__}"
        if len(given) > LONGEST_VALUE:
            given = f"{given[:LONGEST_VALUE]}…"
        return f"{name} must be {self.allowed}; got {given}"


class BadFile(ValueError):
    """A file or directory of results that cannot be used as it is: says which, and why."""

    def __init__(self, path: Path, problem: str):
        """Say which file it is, and what is wrong with it."""
        super().__init__(f"{path} {problem}")
        self.path = path


class UnfinishedRun(RuntimeError):
    """A run that ended before all of its seeds were trained, through no fault of its own."""
