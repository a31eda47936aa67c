"""Shows a function that is wrapped after its definition, `f = checked(f)`, as the function."""

import griffe


class Wrapped(griffe.Extension):
    """Puts the definition in place of the assignment."""

    def __init__(self):
        """Start without definitions."""
        self.defined = {}

    def on_function_instance(self, *, func, **_):
        """Remember a definition."""
        self.defined[func.path] = func

    def on_attribute_instance(self, *, attr, **_):
        """Put it back, and give it its docstring again, which the assignment has taken."""
        if (function := self.defined.get(attr.path)) is not None:
            function.docstring.parent = function
            attr.parent.set_member(attr.name, function)
