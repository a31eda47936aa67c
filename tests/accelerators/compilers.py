"""Programs compiled for a TPU or a GPU that is not at hand, and what its own compiler reports.

The compilers run on any machine. A TPU's writes the instructions of every kernel to a folder, which
is chosen before it is loaded, as `tests/accelerators/conftest.py` does. A VLIW processor issues a
*bundle* of instructions each cycle, so that the bundles of a loop's body are its cycles at best.
"""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

DUMPED = "final_bundles|final_hlo-static-per-bundle-utilization"


def choose_dump(folder: Path) -> None:
    """Set up libtpu, which must not be loaded yet, for a machine without a TPU."""
    options = {
        "xla_jf_dump_to": folder,
        "xla_jf_dump_llo_text": "true",
        "xla_jf_dump_llo_pass_label_regex": f"({DUMPED})",
    }
    os.environ["LIBTPU_INIT_ARGS"] = " ".join(f"--{name}={x}" for name, x in options.items())
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def tpu_devices(kind: str, chips: int) -> list[jax.Device]:
    """The devices of a TPU that is not at hand: `kind` "v5e" or "v6e", with 1 or 4 `chips`."""
    name, bounds = {1: ("1x1", {"chips_per_host_bounds": (1, 1, 1)}), 4: ("2x2", {})}[chips]
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=f"{kind}:{name}", **bounds
    )
    return topology.devices


def compile_for(device: jax.Device, fn: Callable, *shapes: Any) -> jax.stages.Compiled:
    """Compile a function of arrays of these shapes for one device."""
    sharding = SingleDeviceSharding(device)
    program = jax.jit(fn, in_shardings=sharding, out_shardings=sharding)
    return program.lower(*shapes).compile()


class KernelReport(NamedTuple):
    """What a TPU's compiler made of a Pallas kernel.

    Attributes:
      bundles: in all.
      step: bundles of the innermost loop.
      fills: loads of spilled vectors in that loop.
      spills: stores of vectors to be loaded again in that loop.
      valu: how much of the vector units' slots it uses, from 0 to 1.
      slots: how many instructions of each unit a step has.
    """

    bundles: int
    step: int
    fills: int
    spills: int
    valu: float
    slots: dict[str, int]


def tpu_kernels(compiled: jax.stages.Compiled, dump: Path) -> list[KernelReport]:
    """Read what the compiler wrote of each Pallas kernel of a program that it compiled last."""
    names = re.findall(r'%(\S+) = .*custom_call_target="tpu_custom_call"', compiled.as_text())
    return [_read_kernel(dump, name) for name in names]


def _read_kernel(dump: Path, name: str) -> KernelReport:
    """Read the newest files of a kernel."""

    def lines(label):
        files = dump.glob(f"*-{name}-*-{label}.txt")
        return max(files, key=lambda path: path.stat().st_mtime_ns).read_text().splitlines()

    # A bundle within two loops is "0x1f : >> { instruction ;; instruction }".
    marked = [
        re.match(r" *(?:0x)?[0-9a-f]+ +\S*: *(>*) \{", line) for line in lines("final_bundles")
    ]
    depths = np.array([len(match[1]) for match in marked if match])
    header, capacity, _, *used = lines("final_hlo-static-per-bundle-utilization")[1:]
    units = [unit.strip() for unit in header.split(",")]
    used = np.array([row.split() for row in used if row.strip()], int)[: len(depths)]
    step = used[depths == depths.max()]
    slots = dict(zip(units, step.sum(axis=0).tolist()))
    per_bundle = dict(zip(units, map(int, capacity.split())))
    return KernelReport(
        bundles=len(depths),
        step=len(step),
        fills=slots["VLOAD:FILL"],
        spills=slots["VSTORE:SPILL"],
        valu=slots["VALU"] / (len(step) * per_bundle["VALU"]),
        slots=slots,
    )


def around_kernels(compiled: jax.stages.Compiled) -> Counter:
    """How many operations of each kind XLA runs beside each kernel, in the same loop's body."""
    bodies = re.split(r"\n(?=\S)", compiled.as_text())
    around = Counter()
    for body in bodies:
        if "tpu_custom_call" in body or "mosaic_gpu" in body:
            around.update(re.findall(r"^ +(?:ROOT )?%\S+ = .*? ([a-z][\w-]*)\(", body, re.M))
    return around
