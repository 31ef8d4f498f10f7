"""Where bfloat16 is worth asking for."""

from __future__ import annotations

import os
import platform

import torch

_WITHOUT = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Instruction sets that oneDNN may be held to and that multiply no bfloat16."""


def computes_bfloat16(device: torch.device) -> bool:
    """True if `device` multiplies bfloat16 by instructions of its own.

    A CPU without them takes 2.5 times as long as in float32 with AVX-512, which converts, and 20 to 40 times
    without (products of matrices and convolutions, one core of an EPYC held to less by $ONEDNN_MAX_CPU_ISA).
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
