"""JavaScript modules as one script, each a function that gives its exports.

Of the language's imports and exports it knows those of names, which is all that the page has.
"""

import re
from collections.abc import Callable

_IMPORT = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|function) (\w+))", re.MULTILINE)


def bundle(entry: str, read: Callable[[str], str]) -> str:
    """The script of a module and of all that it imports, each once and after its own imports.

    Args:
      entry: the module's name.
      read: gives the text of the module of a name.
    """
    scripts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in scripts:
            return
        text = read(name)
        for _, imported in _IMPORT.findall(text):
            add(imported)
        exports = ", ".join(_EXPORT.findall(text))
        body = _EXPORT.sub("", _IMPORT.sub(r"const \1 = \2_js;", text))
        scripts[name] = f"const {name}_js = (() => {{\n{body}return {{ {exports} }};\n}})();\n"

    add(entry)
    return '"use strict";\n' + "\n".join(scripts.values())
