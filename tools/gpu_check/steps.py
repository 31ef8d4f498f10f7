"""The table of steps: what a GPU is asked, in which order, how long each may take, how large it is.

Seconds are limits and add up to nine minutes; see `runner` for what becomes of time that is left over.
"""

from __future__ import annotations

from tools.gpu_check import (
    alias_free,
    ceilings,
    commands,
    convolutions,
    exchange,
    kernels,
    peer,
    replay,
    training,
)
from tools.gpu_check.step import Step

_PLAIN = ["family.ada.mode=off"]  # as the peer's phases are timed
_SMALL = ["family.channel_base=256", "family.channel_max=16", "family.z_dim=16", "family.w_dim=16",
          "family.mapping_layers=2", "family.r1_every=4", "family.path_length_every=2",
          "family.minibatch_stddev_group=4"]  # fmt: skip
_TINY_RUNS = [("stylegan2-1024.yaml", 32, 4, [*_PLAIN, *_SMALL, "data.resolution=32"])]
_BATCH_4 = ("stylegan2-1024.yaml", 1024, 4, _PLAIN)
_PIXELS_256 = ("stylegan2-256.yaml", 256, 8, _PLAIN)
_OPERATIONS = ["tests/gpu/test_ops_gpu.py", "tests/gpu/test_filtered_lrelu_gpu.py"]
_AUGMENTED = ("stylegan2-1024.yaml", 1024, 4, ["family.ada.mode=fixed", "family.ada.p=0.2"])

STEPS: tuple[Step, ...] = (
    Step("doctor", 10, "does everything import, and what does the doctor say", commands.doctor),
    Step("plugins", 200, "the peer's own compiled operations", peer.plugins, beside=True),
    Step(
        "ceilings", 8, "copy and products: what there is to reach", ceilings.ceilings,
        {"copied": 4096, "side": 8192, "rounds": 10}, {"copied": 4, "side": 64, "rounds": 2},
    ),
    Step(
        "waits", 7, "which calls make the host wait for the device", ceilings.waits,
        {"side": 8192, "products": 30}, {"side": 64, "products": 2},
    ),
    Step(
        "convolutions", 25, "layout, TF32 and cudnn.benchmark", convolutions.convolutions,
        {"shapes": [(4, 32, 1024), (4, 64, 512), (4, 128, 256), (4, 512, 64), (4, 512, 16)], "rounds": 10},
        {"shapes": [(1, 8, 16)], "rounds": 2},
    ),
    Step(
        "grouped", 20, "R3GAN's second derivatives", convolutions.grouped,
        {"blocks": [(8, 768, 96, 32), (8, 96, 12, 256)], "rounds": 3},
        {"blocks": [(2, 16, 4, 8)], "rounds": 2},
    ),
    Step(
        "training", 40, "are steps right, finite and bitwise", commands.tests,
        {"arguments": ["-m", "gpu", "tests/gpu", *(f"--ignore={path}" for path in _OPERATIONS)],
         "workers": 3},
        {"arguments": ["tests/tools/test_tf32.py"], "workers": 1},
    ),
    Step("syncs", 15, "where a step makes the host wait", training.syncs, {"steps": 3}, {"steps": 1}),
    Step(
        "operations", 65, "are the compiled operations right", commands.tests,
        {"arguments": ["-m", "gpu", *_OPERATIONS], "workers": 6},
        {"arguments": ["tests/test_randomness.py"], "workers": 2},
    ),
    Step(
        "activations", 15, "what one pass saves between filters", alias_free.activations,
        {"layers": list(alias_free.LAYERS), "images": 2, "types": ["float16", "float32"], "rounds": 5,
         "most_channels": 1024, "most_side": 2048},
        {"layers": ["T 276 up", "R 148"], "images": 1, "types": ["float32"], "rounds": 1,
         "most_channels": 2, "most_side": 24},
    ),
    Step(
        "full-size", 88, "s/kimg and memory at full size", training.full_size,
        {"runs": [_BATCH_4, _PIXELS_256, _AUGMENTED, ("stylegan2-1024.yaml", 1024, 16, _PLAIN),
                  ("stylegan2-1024.yaml", 1024, 32, _PLAIN)]},
        {"runs": _TINY_RUNS},
    ),
    Step(
        "peer", 70, "s/kimg of the peer", peer.phases,
        {"config": "stylegan2-1024.yaml", "settings": [], "resolution": 1024, "batches": [4, 16],
         "low_levels": 4, "rounds": 3},
        {"config": "stylegan2-1024.yaml", "settings": _SMALL, "resolution": 32, "batches": [4],
         "low_levels": 0, "rounds": 1},
    ),
    Step(
        "profile", 40, "is the device busy, and with what", training.profile,
        {"runs": [_BATCH_4, _PIXELS_256]}, {"runs": _TINY_RUNS},
    ),
    Step(
        "ncu", 40, "what share of memory and issue our kernels reach", kernels.ncu,
        {"images": 4, "channels": 32, "side": 1024, "type": "bfloat16"},
        {"images": 2, "channels": 8, "side": 8, "type": "float32"},
    ),
    Step(
        "replay", 22, "what a graph saves", replay.replay,
        {"runs": [_PIXELS_256, _BATCH_4], "rounds": 10}, {"runs": _TINY_RUNS, "rounds": 2},
    ),
    Step(
        "run", 60, "from pictures to figures, with a stop between", commands.run,
        {"config": "stylegan2-1024.yaml", "resolution": 1024, "pictures": 32, "seen": 64, "length": 512,
         "generated": 64, "measured": 32,
         "settings": ["batch.size=16", "report.every_images=32", "snapshots.grid=4", "data.workers=8"]},
        {"config": "stylegan2-1024.yaml", "resolution": 32, "pictures": 16, "seen": 8, "length": 48,
         "generated": 4, "measured": 10,
         "settings": [*_SMALL, "data.resolution=32", "batch.size=4", "report.every_images=4",
                      "snapshots.grid=4", "data.workers=1", "data.lanes=4"]},
    ),
    Step(
        "exchange", 15, "do NCCL and ZeRO come up", exchange.exchange,
        {"megabytes": 256, "rounds": 10}, {"megabytes": 1, "rounds": 2},
    ),
)  # fmt: skip
