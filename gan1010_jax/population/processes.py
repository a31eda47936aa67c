"""Several processes that work on one population, joined by `jax.distributed`.

They compare what they are about to do, divide the chunks, and wait for each other at the end, with
no communication in between.
"""

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
from flax.traverse_util import flatten_dict

# Public JAX has no key-value store, says which processes live in another way in each version, and
# tells nobody the coordinator that it finds under a launcher.
from jax._src import clusters, distributed

from gan1010_jax.checks import check_whole
from gan1010_jax.errors import InvalidArgument, UnfinishedRun
from gan1010_jax.population.meeting import meet_first, meet_others, parse_place, relay

# Seconds after which a process that does not come, or no longer answers, is given up.
JOIN_TIMEOUT, HEARTBEAT_TIMEOUT = 300, 60

_joined, _left = threading.Event(), threading.Event()
_exit_codes: list[int] = []
_exchanges = itertools.count()


def join_processes(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the processes of a job, before JAX is used otherwise.

    `jax.distributed.initialize` with its arguments, which it finds by itself under SLURM, MPI,
    Kubernetes and on TPU pods. The first listens where the coordinator is, and waits for the others
    for `JOIN_TIMEOUT`, as they do for it. When it ends, so do the others, at once, or after
    `HEARTBEAT_TIMEOUT` if it only stops to answer. When another ends without leaving, that is known
    after as long, and the rest go on with their own shares.

    Raises:
      InvalidArgument: (a `ValueError`) if the arguments are not found, or not right.
      UnfinishedRun: (a `RuntimeError`) if not all processes come.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator is not None:
        parse_place(coordinator)  # raises before anything else is asked for
    problem = ""
    try:
        coordinator, count, index, _ = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            coordinator, num_processes, process_id, None, None, JOIN_TIMEOUT
        )
    except (ValueError, RuntimeError) as error:
        problem, count = f" ({error})", None
    if coordinator is None or count is None or index is None:
        allowed = (
            "used under SLURM, MPI, Kubernetes or on a TPU pod, or else with "
            f"--coordinator HOST:PORT, --num-processes and --process-id{problem}"
        )
        raise InvalidArgument("distributed", True, allowed)
    check_whole("num_processes", count, 1, 2**31 - 1)
    check_whole("process_id", index, 0, count - 1, ", and less than the number of processes")
    place = parse_place(coordinator)
    bound = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS")
    if index == 0:
        place = meet_others(parse_place(bound) if bound else place, count, JOIN_TIMEOUT)
        bound = str(place)
    else:
        meet_first(place, count, index, JOIN_TIMEOUT)
        # JAX's client asks for an answer every half of this time, and aborts at the whole.
        place = relay(place, 0.9 * HEARTBEAT_TIMEOUT, _end_with_first)

    def join() -> None:
        jax.distributed.initialize(
            str(place),
            count,
            index,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            coordinator_bind_address=bound,
        )
        jax.process_count()  # which all have to ask for

    jax.config.update("jax_enable_recoverability", True)
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        _on_a_thread(join, timeout=JOIN_TIMEOUT)
    except TimeoutError as error:
        took = f"JAX could not join the processes within {JOIN_TIMEOUT} s"
        raise UnfinishedRun(took) from error
    except (RuntimeError, AssertionError) as error:  # the latter if it has no device
        reason = str(error).partition("\n")[0] or "it finds no device"
        raise UnfinishedRun(f"JAX could not join the processes: {reason}") from error
    signal.signal(signal.SIGTERM, on_termination)  # JAX replaces it
    _joined.set()


def _end_with_first() -> None:
    """End this process, since the first one has; JAX's client would abort it with a stack dump."""
    if _left.is_set():
        return
    if not _exit_codes:
        problem = "the first process ended, or does not answer; what was finished is kept"
        print(f"error: {problem}", file=sys.stderr, flush=True)
    os._exit(_exit_codes[0] if _exit_codes else 1)


def _on_a_thread(function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Any:
    """Call a function that blocks in C++, while signals are handled."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(function, *args).result(timeout)
    finally:
        pool.shutdown(wait=False)


def is_first() -> bool:
    """Whether this is the process that decides, and writes what is written once."""
    return jax.process_index() == 0


def gather(value: Any) -> list[Any]:
    """The JSON value of every process, in every process.

    Raises:
      UnfinishedRun: in every process, if one has ended, or left.
    """
    found = _exchange(value)
    if lost := set(range(jax.process_count())) - found.keys():
        raise UnfinishedRun(f"process {', '.join(map(str, sorted(lost)))} ended early")
    return [found[index] for index in range(jax.process_count())]


def check_alike(values: Mapping[str, Any]) -> None:
    """Raise `InvalidArgument` in every process unless all call this with the same JSON object."""
    first, *others = gather(flatten_dict(values, sep="."))
    for index, other in enumerate(others, 1):
        for name in first | other:
            here, there = (json.dumps(x.get(name)) for x in (first, other))
            if here != there:
                given = f"{name} = {here} in process 0, and {there} in process {index}"
                raise InvalidArgument("distributed", given, "the same run in every process")


def decided_by_first(decide: Callable[[], Any]) -> Any:
    """In every process, the JSON value that a function returns in the first one.

    Raises:
      UnfinishedRun: in the others, if the function raises an error in the first.
    """
    if jax.process_count() == 1:
        return decide()
    if not is_first():
        answer = _exchange(None).get(0) or {"error": "it ended early"}
        if "error" in answer:
            raise UnfinishedRun(f"the first process did not go on: {answer['error']}")
        return answer["value"]
    try:
        value = decide()
    except Exception as error:
        _exchange({"error": str(error)})
        raise
    _exchange({"value": value})
    return value


def wait_for_all() -> set[int]:
    """Wait until every process has called this or has ended; those that have ended."""
    return set(range(jax.process_count())) - _exchange(None).keys()


def _exchange(value: Any) -> dict[int, Any]:
    """The JSON value of every process that has not ended, once each of them has called this."""
    if jax.process_count() == 1:
        return {0: value}
    store, folder = distributed.global_state.client, f"gan1010/{next(_exchanges)}/"
    store.key_value_set(f"{folder}{jax.process_index()}", json.dumps(value))
    live = _live_processes()  # of which those that are about to leave have set none
    found = {int(key.rsplit("/")[-1]): text for key, text in store.key_value_dir_get(folder)}
    return {index: json.loads(text) for index, text in found.items() if index in live}


def _live_processes() -> set[int]:
    """The processes that have not ended, once each of them has called this."""
    client, everyone = distributed.global_state.client, [*range(jax.process_count())]
    return set(_on_a_thread(client.get_live_nodes, everyone))


def leave(code: int, wait: bool) -> None:
    """Leave the job before ending with an exit code; the other processes know at once.

    The first process has to stay until all others have left, and waits for that if `wait`.
    """
    if not _joined.is_set():
        if jax.distributed.is_initialized():
            os._exit(code)  # the thread that joins may be blocked
        return
    if is_first():
        if not wait:
            return  # its end is known at once, too
        while len(_live_processes()) > 1:
            pass
    _exit_codes.append(code)
    jax.distributed.shutdown()
    _left.set()
