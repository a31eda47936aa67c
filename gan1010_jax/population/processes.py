"""Several processes that work on one population, joined by `jax.distributed`.

They divide the chunks at the start and wait for each other at the end, with no communication in
between. `jax.distributed` detects processes that die.
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
    Kubernetes and on TPU pods. A process that dies is detected after 100 s, and the others go on
    with their own shares; the death of the first ends all.

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
    signal.signal(signal.SIGTERM, on_termination)  # JAX replaces it


def is_first() -> bool:
    """Whether this is the process that decides, and writes what is written once."""
    return jax.process_index() == 0


def decided_by_first(decide: Callable[[], Any]) -> Any:
    """In every process, the JSON value that a function returns in the first one.

    Raises:
      UnfinishedRun: in the others, if the function raises an error in the first.
    """
    if jax.process_count() == 1:
        return decide()
    if not is_first():
        answer = _broadcast(None)
        if "error" in answer:
            raise UnfinishedRun(f"the first process did not go on: {answer['error']}")
        return answer["value"]
    try:
        value = decide()
    except Exception as error:
        _broadcast({"error": str(error)})
        raise
    return _broadcast({"value": value})["value"]


def _broadcast(value: Any) -> Any:
    """The first process's JSON value, in every process."""
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    data = multihost_utils.broadcast_one_to_all(np.resize(data, length))
    return json.loads(np.asarray(data).tobytes())


def gather(value: Any) -> list[Any]:
    """The JSON value of every process, in every process."""
    return [value]


def wait_for_all() -> set[int]:
    """Wait until every process has called this or has died; those that have died."""
    everyone = range(jax.process_count())
    if len(everyone) == 1:
        return set()
    # The public form of this, `multihost_utils.live_devices`, is new, and its signature changes.
    return set(everyone) - set(distributed.global_state.client.get_live_nodes([*everyone]))


def leave(wait: bool) -> None:
    """Leave the job, which the other processes then know at once.

    The first process has to stay until all others have left, and waits for that if `wait`.
    """
    if not jax.distributed.is_initialized():
        return
    while wait and is_first() and len(wait_for_all()) < jax.process_count() - 1:
        pass
    jax.distributed.shutdown()
