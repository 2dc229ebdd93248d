"""Mirrored: the strategy that starts workers of its own for every fit, on this machine."""
from __future__ import annotations

from ..errors import ParameterError
from .data_parallel import DataParallel
from .launched import launched, processors
from .strategy import SingleDevice

MOST = 8          # workers on processors if nobody says how many


class Mirrored(DataParallel):
    """Data parallelism over workers that each fit starts on this machine and ends again.

    It works from a notebook and from any script, and needs ``pip install "gradatim[mpi]"``. The
    samples are put in shared memory once, the fitted estimator comes back, and predictions are
    made in this process. Callbacks are called in the workers. Ctrl-C ends training as it does
    without workers. Under a launcher such as ``mpiexec`` its processes are the workers.

    Parameters
    ----------
    workers : int, optional
        How many; by default one for every GPU, or, on the native and the reference backend, one
        for every processor, but not more than 8.

    Raises
    ------
    ParameterError
        If a parameter is out of range.
    DistributedError
        At a fit, if there is no MPI, or a worker was killed.

    Examples
    --------
    >>> import gradatim as gt
    >>> gt.DNNClassifier(strategy=gt.Mirrored(workers=2)).strategy
    Mirrored(workers=2)
    """

    @property
    def parts(self) -> int:
        return super().parts if launched() > 1 else 1

    @property
    def starts(self) -> int:
        if self.data == "sharded" and not launched():
            raise ParameterError("workers that a fit starts are all given its samples",
                                 fix='leave data="sharded" out, or start them with mpiexec')
        return 0 if launched() else self.workers or min(processors(), MOST)

    def function(self, inputs, outputs, updates, backend, precision=None):
        here = super() if launched() > 1 else SingleDevice()
        return here.function(inputs, outputs, updates, backend, precision)
