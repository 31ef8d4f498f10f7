"""Tells on which devices bfloat16 is worth using."""

from __future__ import annotations

import os
import platform

import torch

_WITHOUT = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Instruction sets that oneDNN may be limited to and that cannot multiply bfloat16."""


def computes_bfloat16(device: torch.device) -> bool:
    """Returns whether `device` has instructions that multiply bfloat16.

    A CPU without them takes 2.5 times as long as in float32 if it has AVX-512, which converts the numbers,
    and 20 to 40 times as long otherwise (matrix products and convolutions on one core of an EPYC whose
    instruction set was limited by $ONEDNN_MAX_CPU_ISA).
    """
    if device.type != "cpu":
        return True
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return platform.machine() != "x86_64" or (torch.cpu._is_avx512_bf16_supported() and not _held_back())


def _held_back() -> bool:
    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
    most = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return most.upper() in _WITHOUT
