"""The tensor level: the op table, the graph and its passes, and the backends that run it."""
from .base import Backend, Program
from .context import device
from .function import Function, eager, function, graph, run
from .gradients import gradients
from .graph import Graph
from .leaves import placeholder, variable
from .op import OPS, Op, cases, inside, normal, op, positive, ufunc
from .plan import PlanReport
from .registry import available, get_backend, register_backend
from .spec import Spec, same, same_float, truth
from .tensor import Tensor, Variable, apply, constant
from . import ops

# What `help` lists and `import *` takes: what is defined here, not the files it is defined in.
__all__ = [name for name, thing in vars().items()
           if getattr(thing, "__module__", "").startswith(f"{__name__}.")]
