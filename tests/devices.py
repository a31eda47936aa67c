"""Devices that need not be at hand, as far as engines look at them."""

from types import SimpleNamespace

DEVICES = {
    "cpu": SimpleNamespace(platform="cpu", device_kind="cpu"),
    "gpu": SimpleNamespace(platform="gpu", device_kind="NVIDIA H100 80GB HBM3"),
    "tpu": SimpleNamespace(platform="tpu", device_kind="TPU v5 lite"),
}
