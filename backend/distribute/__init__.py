"""Strategies, passes that cut a graph into replicas, and the communicators that join them."""
from .communicator import Communicator
from .data_parallel import DataParallel
from .launched import launched
from .local import local_communicators
from .mpi import MPICommunicator, world
from .mirrored import Mirrored
from .replicate import replicate
from .sharded_rows import ShardedRows
from .strategies import strategy
from .strategy import SingleDevice, Strategy
