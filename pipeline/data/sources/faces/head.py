"""Backdrop, shoulders, neck, ears, and the shaded head that features are painted on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.data.sources.faces.canvas import Canvas, Patch, Plane, bell, ellipse, inside, smooth
from pipeline.data.sources.faces.traits import CLOTHES, HAIRS, SKINS, Traits

CENTRE_Y = -0.06
HALF_WIDTH, HALF_HEIGHT = 0.42, 0.56


@dataclass(frozen=True)
class Head:
    """Where things are: `at` turns picture coordinates into head coordinates.

    In head coordinates the head spans about [-1, 1] both ways; features sit on a turned ball, so that
    `across` gives the place of longitude t, and `narrow` how much it is foreshortened.
    """

    traits: Traits

    def at(self, patch: Patch) -> tuple[Plane, Plane]:
        """(X, Y) of each pixel of the patch, upright and of unit size."""
        sin, cos = math.sin(self.traits.roll), math.cos(self.traits.roll)
        y0 = patch.y - 0.5  # the head leans about the base of the neck
        x = (patch.x * cos + y0 * sin) / (HALF_WIDTH * self.traits.width)
        y = (y0 * cos - patch.x * sin + 0.5 - CENTRE_Y) / HALF_HEIGHT
        return x.astype(np.float32), y.astype(np.float32)

    def across(self, longitude: float) -> float:
        """X of what stands at `longitude` (radians from the nose) on the turned head."""
        return math.sin(longitude + self.traits.yaw)

    def narrow(self, longitude: float) -> float:
        """Foreshortening there, 1 for none."""
        return max(0.35, math.cos(longitude + self.traits.yaw) / math.cos(longitude))

    @property
    def lift(self) -> float:
        """How far looking up or down moves the features."""
        return self.traits.pitch * 2

    def shape(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        """(X straightened for the jaw, squared radius: 1 on the outline)."""
        down = np.clip(y, 0, 1.2)
        straight = x / (1 - self.traits.jaw * down**1.8 - 0.05 * down)
        top = np.where(y < 0, y * 1.02, y)
        return straight, np.abs(straight) ** 2.25 + np.abs(top) ** 2.25


def skin_colour(traits: Traits) -> Plane:
    """Base colour [3]."""
    return np.asarray(SKINS[traits.skin], np.float32) * np.float32(traits.tone)


def hair_colour(traits: Traits) -> Plane:
    """Base colour [3]."""
    return np.asarray(HAIRS[traits.hair], np.float32) * np.float32(traits.tone)


def backdrop(canvas: Canvas, traits: Traits) -> None:
    """A studio wall, lit from one side."""
    patch = canvas.patch()
    near, far = (np.asarray(colour, np.float32) for colour in traits.backdrop)
    glow = bell(patch.x - 0.45 * traits.light, patch.y + 0.25, 1.1, 1.2)
    patch.rgb[:] = far + glow[..., None] * (near - far)


def shoulders(canvas: Canvas, traits: Traits) -> None:
    """Clothes with a collar, cut by the lower edge of the picture."""
    patch = canvas.patch(top=0.4)
    slope = (
        0.70 + 0.9 * np.maximum(np.abs(patch.x) - 0.16, 0) ** 2.2 - 0.06 * bell(patch.x, patch.y * 0, 0.3, 1)
    )
    cover = inside(slope - patch.y, 2 * patch.pixel)
    fold = 0.06 * np.sin(patch.x * 9 + 3 * patch.y) * np.sin(patch.y * 7 + traits.light)
    light = 0.82 + 0.22 * patch.x * traits.light + fold - 0.35 * smooth(np.abs(patch.x), 0.35, 1.0)
    cloth = np.asarray(CLOTHES[traits.clothes], np.float32) * light[..., None]
    patch.paint(cover, np.clip(cloth, 0, 1))
    patch.mark(cover, "clothes")
    collar = inside(np.abs(patch.y - slope - 0.02) - 0.012, 0.02) * inside(np.abs(patch.x) - 0.27, 0.10)
    patch.darken(0.22 * collar * cover)


def neck(canvas: Canvas, traits: Traits) -> None:
    """The neck, in the shadow of the chin."""
    patch = canvas.patch(-0.5, 0.1, 0.5, 0.9)
    lean = patch.x - 0.10 * math.sin(traits.roll)
    half = 0.205 * traits.width + 0.10 * smooth(patch.y, 0.5, 0.85)
    cover = inside(np.abs(lean) - half, 2 * patch.pixel) * inside(
        patch.y - 0.80 + 0.35 * (lean / 0.33) ** 2, 2 * patch.pixel
    )
    round_ = np.sqrt(np.clip(1 - (lean / half) ** 2, 0, 1))
    light = 0.42 + 0.38 * round_ + 0.22 * traits.light * lean / half
    light = np.clip(light, 0, 1) * (1 - 0.42 * (1 - smooth(patch.y, 0.42, 0.72)))
    tint = np.stack([light, light**1.12, light**1.2], -1)
    patch.paint(cover, np.clip(skin_colour(traits) * tint, 0, 1))
    patch.mark(cover, "neck")


def ears(canvas: Canvas, head: Head) -> None:
    """Two ears, of which a turned head hides one."""
    patch = canvas.patch(-0.62, -0.5, 0.62, 0.5)
    x, y = head.at(patch)
    colour = skin_colour(head.traits)
    for side in (-1, 1):
        centre = side * 0.985 - 0.22 * head.traits.yaw
        lean = x - centre - 0.10 * side * (-y)
        outer = inside(ellipse(lean, y - 0.03 - head.lift * 0.3, 0.115, 0.21), 4 * patch.pixel)
        inner = inside(ellipse(lean - 0.02 * side, y - 0.03, 0.062, 0.14), 0.10)
        light = np.float32(0.80 + 0.12 * side * head.traits.light)
        patch.paint(outer, colour * np.asarray((light, light * 0.92, light * 0.90)))
        patch.mark(outer, "ears")
        patch.darken(0.35 * inner * outer, (0.55, 0.35, 0.30))


def skin(canvas: Canvas, head: Head) -> None:
    """The head as a lit ball with the relief of a face."""
    patch = canvas.patch(-0.66, -0.86, 0.66, 0.74)
    x, y = head.at(patch)
    straight, radius = head.shape(x, y)
    cover = inside((np.sqrt(radius) - 1) * HALF_WIDTH, 2 * patch.pixel)
    light, gloss = _light(head, straight, y, radius, _relief(head, x, y))
    colour = skin_colour(head.traits) * _flush(head, x, y)
    # Light that wanders under the skin: shadows stay warm.
    tint = np.stack([light**0.86, light, light**1.08], -1)
    shaded = colour * tint + 0.10 * gloss[..., None]
    patch.paint(cover, np.clip(shaded, 0, 1))
    patch.mark(cover, "face")


def _light(head: Head, x: Plane, y: Plane, radius: Plane, relief: Plane) -> tuple[Plane, Plane]:
    """(diffuse light, gloss) on the ball with its relief."""
    step_y, step_x = np.gradient(relief, abs(float(y[1, 0] - y[0, 0])), abs(float(x[0, 1] - x[0, 0])))
    normal_x, normal_y = 0.92 * x - step_x, 0.72 * y - step_y
    normal_z = np.sqrt(np.clip(1 - radius, 0.015, 1)) + 0.12
    length = np.sqrt(normal_x**2 + normal_y**2 + normal_z**2)
    side = math.sin(head.traits.light * 0.9)
    key = (normal_x * side * 0.75 - normal_y * 0.45 + normal_z * 0.75) / length
    gloss = np.clip((normal_x * side * 0.45 - normal_y * 0.30 + normal_z * 0.90) / length, 0, 1) ** 26
    wrapped = np.clip((key + 0.35) / 1.45, 0, 1)
    edge = np.clip(normal_z / length, 0, 1)
    return (0.34 + 0.72 * wrapped) * (0.80 + 0.22 * edge), gloss


def _relief(head: Head, x: Plane, y: Plane) -> Plane:
    """How far the face stands out of the ball: nose, sockets, cheeks, lips, chin."""
    traits, lift = head.traits, head.lift
    middle = head.across(0.0)
    tip = middle + 0.05 * traits.yaw
    relief = 0.16 * bell(x - tip, y - 0.30 - lift, 0.12 * traits.nose, 0.11)
    relief += 0.11 * bell(x - middle, y - 0.10 - lift, 0.075 * traits.nose, 0.24)
    for side in (-1, 1):
        eye = head.across(side * 0.43 * traits.eye_gap)
        cheek = head.across(side * 0.55)
        relief -= 0.075 * bell(x - eye, y + 0.03 - lift, 0.19, 0.11)
        relief += 0.05 * bell(x - eye, y + 0.22 - lift, 0.24, 0.08)
        relief += (0.05 + 0.04 * max(0.0, traits.smile)) * bell(x - cheek, y - 0.25 - lift, 0.20, 0.17)
        relief += 0.045 * bell(x - head.across(side * 0.14 * traits.nose), y - 0.33 - lift, 0.055, 0.05)
        fold = x - head.across(side * (0.27 + 0.05 * traits.smile)) - side * 0.28 * (y - 0.42 - lift)
        depth = 0.018 * (0.4 * max(0.0, traits.smile) + 1.1 * traits.age)
        relief -= depth * bell(fold, y - 0.44 - lift, 0.028, 0.12)
    relief += 0.07 * bell(x - middle, y - 0.56 - lift, 0.21, 0.09)
    relief += 0.07 * bell(x - middle, y - 0.86 - lift, 0.20, 0.11)
    relief -= 0.03 * bell(x - middle, y - 0.70 - lift, 0.22, 0.045)
    wrinkles = 0.0045 * max(0.0, traits.age - 0.35) * np.sin(y * 78 + 2 * np.cos(x * 5))
    relief += wrinkles * bell(x - middle, y + 0.50 - lift, 0.45, 0.14)
    return relief.astype(np.float32)


def _flush(head: Head, x: Plane, y: Plane) -> Plane:
    """Colour of the blood below: cheeks and nose redder, below the eyes and on a shaven chin cooler."""
    red = 0.55 * bell(x - head.across(0.0), y - 0.31 - head.lift, 0.16, 0.12)
    shade = np.zeros_like(red)
    for side in (-1, 1):
        red += 0.8 * bell(x - head.across(side * 0.60), y - 0.27 - head.lift, 0.22, 0.17)
        eye = head.across(side * 0.43 * head.traits.eye_gap)
        shade += bell(x - eye, y - 0.09 - head.lift, 0.16, 0.06) * (0.35 + 0.5 * head.traits.age)
        shade += 0.8 * bell(x - eye, y + 0.075 - head.lift, 0.19, 0.06)
    return np.stack([1 - 0.10 * shade, 1 - 0.11 * red - 0.17 * shade, 1 - 0.11 * red - 0.16 * shade], -1)
