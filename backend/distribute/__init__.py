"""Strategies, passes that cut a graph into replicas, and the communicators that join them."""
from .communicator import Communicator
from .local import local_communicators
from .mpi import MPICommunicator, launched, world
from .mirrored import Mirrored
from .replicate import replicate
from .sharded_rows import ShardedRows
from .strategy import DataParallel, SingleDevice, Strategy, strategy
