"""Several processes that work on one population, joined by `jax.distributed`.

They share out the chunks at the start and wait for each other at the end; in between they do not
talk. `jax.distributed` watches whether they live.
"""

import json
import re
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from gan1010_jax.errors import InvalidArgument, UnfinishedRun

HEARTBEAT_TIMEOUT = 100  # seconds


def join_processes(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the processes of a job, before JAX is used otherwise.

    `jax.distributed.initialize` with its arguments, which it finds by itself under SLURM, MPI,
    Kubernetes and on TPU pods. A process that dies is missed after 100 seconds, and the others go
    on with their own shares; unless it is the first, which ends them all.

    Raises:
      InvalidArgument: (a `ValueError`) if the arguments are not found, or not right.
    """
    if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
        raise InvalidArgument("coordinator", coordinator, "HOST:PORT, such as alpha:10100")
    jax.config.update("jax_enable_recoverability", True)
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT
        )
    except (ValueError, TypeError) as error:
        allowed = (
            "used under SLURM, MPI, Kubernetes or on a TPU pod, or else with "
            f"--coordinator HOST:PORT, --num-processes and --process-id ({error})"
        )
        raise InvalidArgument("distributed", True, allowed) from error
    signal.signal(signal.SIGTERM, on_termination)  # which JAX would keep to itself


def is_first() -> bool:
    """Whether this is the process that decides, and writes what is written once."""
    return jax.process_index() == 0


def decided_by_first(decide: Callable[[], Any]) -> Any:
    """What a function returns in the first process, as JSON can say it, in every process.

    Raises:
      UnfinishedRun: in the others, if it raises an error in the first, which has that error.
    """
    if jax.process_count() == 1:
        return decide()
    if not is_first():
        answer = broadcast(None)
        if "error" in answer:
            raise UnfinishedRun(f"the first process did not go on: {answer['error']}")
        return answer["value"]
    try:
        value = decide()
    except Exception as error:
        broadcast({"error": str(error)})
        raise
    return broadcast({"value": value})["value"]


def broadcast(value: Any) -> Any:
    """The first process' value, as JSON can say it, in every process."""
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    data = multihost_utils.broadcast_one_to_all(np.resize(data, length))
    return json.loads(np.asarray(data).tobytes())


def wait_for_all() -> set[int]:
    """Wait until every process has come here or has died; which have died."""
    everyone = range(jax.process_count())
    if len(everyone) == 1:
        return set()
    # JAX's public form of this, `multihost_utils.live_devices`, is new and still changes its shape.
    return set(everyone) - set(distributed.global_state.client.get_live_nodes([*everyone]))


def leave(wait: bool) -> None:
    """End this process' part in a job, of which the others then know at once.

    The first process is needed until all have left, which it may wait for.
    """
    if not jax.distributed.is_initialized():
        return
    while wait and is_first() and len(wait_for_all()) < jax.process_count() - 1:
        pass
    jax.distributed.shutdown()
