"""TensorBoard on a finished run, as a person sees it: opened by `hrgan board` in a real browser.

Screenshots are kept in out/board, or in $HRGAN_SCREENSHOTS.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launch.cluster.processes import free_port
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from tests.browser import Browser, chromium, missing
from tests.small_run import ROOT, environment, hrgan, write_config

pytestmark = pytest.mark.slow

SHOTS = Path(os.environ.get("HRGAN_SCREENSHOTS", ROOT / "out" / "board"))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Trained and evaluated."""
    if packages := missing():
        pytest.skip(f"browser: needs the Debian packages {', '.join(packages)}")
    folder = tmp_path_factory.mktemp("board")
    prepare("demo:digits", folder / "shards", Asked(resolution=16, channels=1, count=64))
    config = write_config(
        folder / "c.yaml",
        folder / "shards",
        length={"images": 64},
        snapshots={"every_images": 32},
        report={"every_images": 16},
    )
    run = folder / "runs" / "digits"
    for command in (
        ("train", config, "--run", run),
        ("evaluate", run, "--data", folder / "shards", "--count", 64, "--all"),
    ):
        done = hrgan(*command)
        assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "launch.main", "board", str(run.parent), "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Browser]:
    with chromium() as browser:
        browser.open(address)
        yield browser


def show(page: Browser, tab: str, *words: str) -> None:
    """Goes to a tab and waits until it says all `words`."""
    page.run("location.hash = arguments[0]", f"#{tab}")
    said = "const said = words().replace(/\\s+/g, ' ');"
    page.wait(f"{said} return arguments[0].every(word => said.includes(word))", list(words))


def shot(page: Browser, name: str) -> np.ndarray:
    """[H, W, 3] of the window, once it stands still."""
    last, end = b"", time.monotonic() + 4
    while (now := page.picture(SHOTS / f"{name}.png")) != last and time.monotonic() < end:
        last = now
        time.sleep(0.3)
    with Image.open(io.BytesIO(now)) as picture:
        return np.asarray(picture.convert("RGB"))


def test_curves(page: Browser) -> None:
    show(page, "timeseries", "loss", "metrics", "digits/tensorboard", "digits/tensorboard/evaluation")
    page.wait("return all('line-chart canvas, line-chart svg').length > 2")
    shot(page, "scalars")


def test_the_custom_tab_has_its_categories_and_draws_lines(page: Browser) -> None:
    categories = ("losses", "regularisers", "ADA", "gradients", "throughput", "quality")
    show(page, "custom_scalars", *categories, "logits of the discriminator", "penalty/r1")
    # As wide as a chart: a curve, not a sign on a button.
    page.wait("return all('path').filter(e => e.getBoundingClientRect().width > 100).length > 4")
    shot(page, "custom_scalars")


def test_pictures(page: Browser) -> None:
    show(page, "images", "samples", "reals", "samples/interpolation")
    sizes = "all('img').filter(e => e.src.includes('individualImage') && e.complete)"
    found = page.wait(
        f"const i = {sizes}; return i.length > 1 && i.map(e => [e.naturalWidth, e.naturalHeight])"
    )
    assert [7 * 16, 16] in found  # the strip, whole
    assert [4 * 16, 2 * 16] in found  # a grid of eight
    shot(page, "images")


def test_settings_beside_the_newest_figures(page: Browser, run: Path) -> None:
    show(page, "hparams", "batch.size", "family.name", "metrics/swd", "digits/tensorboard/evaluation")
    shot(page, "hparams")


def test_texts(page: Browser) -> None:
    show(page, "text", "config", "data", "demo:digits", "64, 16x16, grey", "minibatch_stddev_group")
    shot(page, "text")


def test_the_projector_draws_thumbnails(page: Browser, address: str) -> None:
    show(page, "projector", "Points: 16", "Dimension: 256", "2 tensors found")
    page.wait("return all('canvas').some(e => e.width > 300 && e.height > 300)")
    picture = shot(page, "projector")
    height, width, _ = picture.shape
    middle = picture[height // 5 : -height // 5, width // 4 : -width // 4].astype(int)
    colourless = np.ptp(middle, axis=2) < 8
    assert (
        colourless & (middle[..., 0] < 200)
    ).sum() > 500  # dark pixels of digits, not of the coloured axes
    assert page.complaints() == []
