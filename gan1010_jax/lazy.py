"""Packages that import what they offer when it is first used (PEP 562), so that they are light."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec


def load_when_used(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package that offers the names of its module `public`."""

    def load() -> dict[str, object]:
        public = import_module(f"{package}.public")
        names = {"__all__": public.__all__} | {name: vars(public)[name] for name in public.__all__}
        namespace = vars(sys.modules[package])
        namespace.update(names)
        return namespace

    def __getattr__(name: str) -> object:
        if find_spec(f"{package}.{name}"):  # a module, which needs nothing else of the package
            return import_module(f"{package}.{name}")
        namespace = load()
        if name not in namespace:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return namespace[name]

    def __dir__() -> list[str]:
        return sorted(load())

    return __getattr__, __dir__
