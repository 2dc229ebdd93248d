"""Elementwise ops: arithmetic, comparison, logic, rounding, powers and transcendental functions."""
from __future__ import annotations

import numpy as np

from ..op import cases, inside, normal, op, positive, ufunc
from ..spec import Spec, broadcast, floating, one_dtype, same, same_float, truth
from ..errors import DTypeError, ShapeError

# ---- arithmetic --------------------------------------------------------------------------------

add = op("add", forward=ufunc("add", 2), spec=same, code="{0} + {1}", onnx="Add",
         grad=lambda g, out, x, y: (g, g), samples=cases(normal((3, 4), (4,)), normal((2, 1), ())))
subtract = op("subtract", forward=ufunc("subtract", 2), spec=same, code="{0} - {1}", onnx="Sub",
              grad=lambda g, out, x, y: (g, -g), samples=normal((3, 4), (3, 1)))
multiply = op("multiply", forward=ufunc("multiply", 2), spec=same, code="{0} * {1}", onnx="Mul",
              grad=lambda g, out, x, y: (g * y, g * x), samples=normal((2, 3, 4), (3, 1)))
divide = op("divide", forward=ufunc("divide", 2), spec=same_float, code="{0} / {1}", onnx="Div",
            grad=lambda g, out, x, y: (g / y, -g * out / y),
            samples=positive((3, 4), (3, 1)))
negative = op("negative", forward=ufunc("negative", 1), spec=same, code="-{0}", onnx="Neg",
              grad=lambda g, out, x: (-g,), samples=normal((5, 3)))
abs_ = op("abs", forward=ufunc("abs", 1), spec=same, code="abs({0})", onnx="Abs",
          grad=lambda g, out, x: (g * sign(x),), samples=normal((5, 3)))
