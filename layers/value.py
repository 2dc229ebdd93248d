"""Value: an object that is its constructor arguments, such as an initializer or a regularizer."""
from __future__ import annotations

import inspect


class Value:
    """Equality, text and files follow from the arguments, stored under their own names.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.L2(0.1) == layers.L2(0.1), layers.L2(0.1) == layers.L2(0.2)
    (True, False)
    """

    def config(self) -> dict:
        """Constructor arguments that differ from their defaults, by name."""
        parameters = inspect.signature(type(self)).parameters.values()
        values = {p.name: (getattr(self, p.name), p.default) for p in parameters}
        return {name: value for name, (value, default) in values.items() if value != default}

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"
