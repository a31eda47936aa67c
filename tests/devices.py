"""The processor, and devices that are not at hand, as far as engines look at them."""

from types import SimpleNamespace

import jax

DEVICES = {
    "cpu": jax.devices("cpu")[0],
    "gpu": SimpleNamespace(platform="gpu", device_kind="NVIDIA H100 80GB HBM3"),
    "tpu": SimpleNamespace(platform="tpu", device_kind="TPU v5 lite"),
}
