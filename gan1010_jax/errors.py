"""The errors that users meet."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LONGEST_VALUE = 500  # characters of a message
# Names that others use for what has another one here.
_SYNONYMS = {
    "bce": "nonsaturating",
    "gp": "wgan_gp",
    "gradient_penalty": "wgan_gp",
    "least_squares": "lsgan",
    "logistic": "nonsaturating",
    "lr": "d_lr",
    "vanilla": "minimax",
    "wgan": "wasserstein",
}


class InvalidArgument(ValueError):
    """A value outside its limits: says the argument's name, the value given and what is allowed.

    The command line turns `name` into its option, so that a limit is written once, in the
    library, and reads the same in both places.
    """

    def __init__(self, name: str, value: Any, allowed: str, choices: Iterable[str] = ()):
        """Say what was given and what is allowed; of names, `choices` are those that there are."""
        self.name = name
        self.value = value
        self.allowed = allowed
        self.choices = tuple(choices)
        super().__init__(self.explain(name))

    def explain(self, name: str) -> str:
        """The message, with a name for the argument such as the command line's."""
        try:
            given = repr(self.value)
        except Exception:  # such as of an integer with more digits than Python writes
            given = f"an object of type {type(self.value).__name__}"
        if len(given) > LONGEST_VALUE:
            given = f"{given[:LONGEST_VALUE]}…"
        meant = _find_meant(self.value, self.choices)
        hint = f" (did you mean {meant!r}?)" if meant else ""
        return f"{name} must be {self.allowed}; got {given}{hint}"


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise `InvalidArgument` unless a value is one of the names that there are."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise InvalidArgument(name, value, f"one of {', '.join(choices)}", choices)


def _find_meant(value: Any, choices: tuple[str, ...]) -> str | None:
    """The choice that was probably meant by the first name in a value that is none of them."""
    names = value if isinstance(value, Mapping) else [value]
    words = [
        word for name in names if isinstance(name, str) for word in re.findall(r"[\w-]+", name)
    ]
    for word in words[:LONGEST_VALUE]:
        if choices and word not in choices:
            from difflib import get_close_matches  # whose import takes as long as the rest's

            word = word.lower().replace("-", "_")
            close = [_SYNONYMS.get(word, word), *get_close_matches(word, choices, 1)]
            if meant := next(filter(choices.__contains__, close), None):
                return meant
    return None


class BadFile(ValueError):
    """A file or directory of results that cannot be used as it is: says which, and why."""

    def __init__(self, path: Path, problem: str):
        """Say which file it is, and what is wrong with it."""
        super().__init__(f"{path} {problem}")
        self.path = path


class UnfinishedRun(RuntimeError):
    """A run that ended before all of its seeds were trained, through no fault of its own."""
