"""Eyes, brows, nose, mouth, beard and glasses, each painted on its own patch of the head."""

from __future__ import annotations

import math

import numpy as np

from pipeline.data.sources.faces.canvas import Canvas, Patch, Plane, bell, ellipse, inside, smooth, wave
from pipeline.data.sources.faces.head import HALF_HEIGHT, HALF_WIDTH, Head, hair_colour, skin_colour

_EYE = 0.43  # longitude
_EYE_Y = 0.0


def eyes(canvas: Canvas, head: Head) -> None:
    """Both eyes with lids, iris, pupil and the reflection of the lamp."""
    for side in (-1, 1):
        _eye(canvas, head, side)


def _eye(canvas: Canvas, head: Head, side: int) -> None:
    traits, longitude = head.traits, side * _EYE * head.traits.eye_gap
    patch = _patch(canvas, head, head.across(longitude), _EYE_Y + head.lift, 0.30, 0.20)
    x, y = head.at(patch)
    u = (x - head.across(longitude)) / (0.158 * traits.eye_size * head.narrow(longitude))
    v = (y - _EYE_Y - head.lift) / (0.158 * traits.eye_size) + 0.05 * side * u
    soft = 3.2 * patch.pixel / (0.158 * HALF_WIDTH)
    squint = 1 - 0.16 * max(0.0, traits.smile) - 0.15 * traits.age
    bow = np.clip(1 - u**2, 0, 1)
    upper, lower = -0.56 * squint * bow**0.75, 0.36 * squint * bow**0.9
    opening = inside(upper - v, soft) * inside(v - lower, soft) * inside(np.abs(u) - 0.98, soft)
    white = 0.93 - 0.35 * smooth(np.abs(u), 0.3, 1.0) - 0.40 * inside(v - upper - 0.14, 0.25)
    patch.paint(opening, np.stack([white, white * 0.965, white * 0.95], -1))
    patch.mark(opening, "eyes")
    _iris(patch, head, u, v, soft, opening)
    brown = 0.35 * hair_colour(traits) * 0.5 + 0.02
    lash = inside(np.abs(v - upper) - 0.055 - 0.035 * side * u, 0.6 * soft + 0.05) * inside(
        np.abs(u) - 1.03, 0.1
    )
    patch.paint(0.88 * lash, brown)
    rim = inside(np.abs(v - lower) - 0.02, soft + 0.05) * inside(np.abs(u) - 0.9, 0.2)
    patch.darken(0.32 * rim, (0.55, 0.32, 0.28))
    crease = inside(np.abs(v - upper * 1.18 + 0.20) - 0.02, 0.12) * inside(np.abs(u) - 0.85, 0.5)
    patch.darken((0.30 + 0.25 * traits.age) * crease, (0.50, 0.32, 0.26))
    corner = inside(ellipse(u + 0.90 * side, v - 0.03, 0.12, 0.10), 0.12) * opening
    patch.paint(0.6 * corner, (0.78, 0.48, 0.44))


def _iris(patch: Patch, head: Head, u: Plane, v: Plane, soft: float, opening: Plane) -> None:
    traits = head.traits
    gx, gy = u - 0.45 * traits.gaze - 0.35 * traits.yaw, v + 0.06
    radius = np.sqrt(gx**2 + gy**2)
    angle = np.arctan2(gy, gx)
    fibres = 0.16 * wave(angle, traits.grain, octaves=4, base=7.0) * smooth(radius, 0.12, 0.3)
    glow = 0.75 + 0.55 * smooth(gy, -0.25, 0.4) + fibres - 0.55 * smooth(radius, 0.32, 0.43)
    disc = opening * inside(radius - 0.43, soft)
    patch.paint(disc, np.asarray(traits.eyes, np.float32) * glow[..., None])
    patch.mark(disc, "irises")
    patch.paint(opening * inside(radius - 0.19, soft + 0.02), (0.02, 0.02, 0.025))
    patch.darken(0.45 * opening * inside(v + 0.36, 0.30))
    lamp = inside(ellipse(gx - 0.16 * math.copysign(1, traits.light), gy + 0.17, 0.095, 0.085), soft + 0.02)
    fill = inside(ellipse(gx + 0.15 * math.copysign(1, traits.light), gy - 0.20, 0.06, 0.04), soft + 0.06)
    patch.paint(opening * np.clip(0.96 * lamp + 0.35 * fill, 0, 1), (1.0, 1.0, 1.0))


def brows(canvas: Canvas, head: Head) -> None:
    """Two tapering arcs of short hairs."""
    traits = head.traits
    for side in (-1, 1):
        longitude = side * 0.46 * traits.eye_gap
        patch = _patch(canvas, head, head.across(longitude), -0.22 + head.lift, 0.42, 0.20)
        x, y = head.at(patch)
        u = side * (x - head.across(longitude)) / (0.245 * head.narrow(longitude))
        arc = -0.215 + head.lift - 0.045 * (1 - (u - 0.25) ** 2) - 0.02 * max(0.0, traits.smile)
        thick = 0.034 * traits.brow * np.clip(1.05 - 0.42 * (u + 0.6), 0.12, 1.1)
        hairs = 0.010 * np.sin(u * 55 + y * 160) + 0.006 * np.sin(u * 131 - y * 90)
        cover = inside(np.abs(y - arc) - thick + hairs, 0.022 + 2 * patch.pixel) * inside(np.abs(u) - 1, 0.22)
        colour = 0.62 * hair_colour(traits) + 0.10 * skin_colour(traits)
        patch.paint(0.82 * cover, colour)
        patch.mark(cover, "brows")


def nose(canvas: Canvas, head: Head) -> None:
    """Nostrils, wings and the shadow below the tip; the ridge is relief of the head."""
    traits = head.traits
    patch = _patch(canvas, head, head.across(0), 0.32 + head.lift, 0.40, 0.22)
    x, y = head.at(patch)
    y = y - head.lift
    middle = head.across(0.0)
    tip = ellipse(x - middle - 0.05 * traits.yaw, y - 0.32, 0.165 * traits.nose, 0.105)
    patch.mark(inside(np.minimum(tip, _ridge(head, x, y)), 2 * patch.pixel), "nose")
    shadow = bell(x - middle + 0.05 * traits.light, y - 0.425, 0.13 * traits.nose, 0.035)
    patch.darken(0.36 * shadow, (0.45, 0.25, 0.20))
    for side in (-1, 1):
        place = middle + side * 0.075 * traits.nose * head.narrow(side * 0.1)
        tilt = y - 0.378 + 0.18 * side * (x - place)
        hole = inside(ellipse(x - place, tilt, 0.040 * traits.nose, 0.018), 0.022 + 2 * patch.pixel)
        patch.darken(0.72 * hole, (0.28, 0.13, 0.11))
        wing = middle + side * 0.150 * traits.nose * head.narrow(side * 0.15)
        curve = np.abs(np.sqrt(((x - wing + side * 0.045) / 0.055) ** 2 + ((y - 0.34) / 0.062) ** 2) - 1)
        edge = inside(curve - 0.10, 0.5) * inside(-(side * (x - wing) + 0.015), 0.03)
        patch.darken(0.36 * edge, (0.48, 0.28, 0.22))
    shine = bell(x - middle - 0.03 * math.copysign(1, traits.light), y - 0.275, 0.035, 0.035)
    patch.paint(0.16 * shine, (1.0, 0.98, 0.95))


def _ridge(head: Head, x: Plane, y: Plane) -> Plane:
    """Distance from the ridge of the nose; negative inside."""
    return ellipse(x - head.across(0.0), y - 0.16, 0.085 * head.traits.nose, 0.21)


def mouth(canvas: Canvas, head: Head) -> None:
    """Lips along a line that a smile bends, parted over teeth when it is broad."""
    traits = head.traits
    patch = _patch(canvas, head, head.across(0), 0.58 + head.lift, 0.55, 0.26)
    x, y = head.at(patch)
    joy = max(0.0, traits.smile)
    u = (x - head.across(0.0)) / ((0.265 + 0.075 * joy) * head.narrow(0.0))
    v = y - 0.575 - head.lift + (0.075 * traits.smile) * (u**2 - 0.35)
    bow = np.clip(1 - u**2, 0, 1)
    gap = max(0.0, traits.smile - 0.45) * 0.115 * bow**0.8
    cupid = 0.055 * traits.lips * (bow**0.8) * (1 - 0.30 * np.exp(-((u / 0.12) ** 2)) + 0.10 * np.cos(u * 6))
    plump = 0.082 * traits.lips * bow**0.75
    soft = 0.012 + 2.5 * patch.pixel
    ends = inside(np.abs(u) - 1.0, 0.06)
    upper = inside(-v - cupid, soft) * inside(v, soft) * ends
    lower = inside(v - gap - plump, soft) * inside(gap - v, soft) * ends
    red = _lip_colour(head)
    patch.paint(0.80 * upper, red * 0.80)
    roundness = np.clip(1 - ((v - gap - 0.45 * plump) / (0.6 * plump + 0.004)) ** 2, 0, 1)
    patch.paint(0.80 * lower, red * (0.86 + 0.20 * roundness[..., None]))
    patch.paint(0.16 * lower * bell(u - 0.15 * traits.light, v - gap - 0.035, 0.35, 0.018), (1.0, 0.95, 0.93))
    between = inside(-v, soft) * inside(v - gap, soft) * ends
    _teeth(patch, u, v, between, gap)
    patch.mark(np.maximum(np.maximum(upper, lower), between), "mouth")
    line = inside(np.abs(v) - 0.004, 0.014 + 2 * patch.pixel) * inside(np.abs(u) - 1.04, 0.1)
    patch.darken(0.62 * line * (gap < 0.004), (0.35, 0.12, 0.12))
    corners = bell(np.abs(u) - 1.03, v, 0.10, 0.022)
    patch.darken(0.45 * corners, (0.45, 0.24, 0.20))
    patch.darken(0.25 * bell(u, v - gap - 0.135, 0.5, 0.03), (0.55, 0.36, 0.30))


def _lip_colour(head: Head) -> Plane:
    return skin_colour(head.traits) * np.asarray((0.93, 0.60, 0.60), np.float32)


def _teeth(patch: Patch, u: Plane, v: Plane, between: Plane, gap: Plane) -> None:
    deep = np.clip(between, 0, 1)
    patch.paint(deep, (0.22, 0.08, 0.08))
    row = inside(v - 0.88 * gap, 0.02) * inside(np.abs(u) - 0.80, 0.12)
    seams = 1 - 0.10 * (np.abs(np.sin(u * 11)) < 0.10)
    light = (0.95 - 0.35 * smooth(np.abs(u), 0.25, 0.85)) * seams
    patch.paint(deep * row, np.stack([light, light * 0.97, light * 0.91], -1))


def beard(canvas: Canvas, head: Head) -> None:
    """A short beard round the mouth and along the jaw."""
    if not head.traits.beard:
        return
    patch = canvas.patch(-0.6, 0.0, 0.6, 0.72)
    x, y = head.at(patch)
    straight, radius = head.shape(x, y)
    y = y - head.lift
    middle = head.across(0.0)
    cheek = (
        0.36
        + 0.42 * np.exp(-(((np.abs(x - middle) - 0.30) / 0.22) ** 2))
        - 0.30 * smooth(np.abs(x), 0.62, 0.95)
    )
    jaw = smooth(y - cheek, -0.05, 0.12)
    lip = bell(x - middle, y - 0.475, 0.30, 0.035) * 0.9
    free = 1 - inside(ellipse(x - middle, y - 0.585, 0.33, 0.095), 0.06)
    rough = 0.80 + 0.20 * wave(x * 3 + 0.4 * wave(y, 3, 2), head.traits.grain, 5, 14.0)
    cover = np.clip(np.maximum(jaw, lip) * free * rough, 0, 1) * inside(np.sqrt(radius) - 1.02, 0.05)
    shade = 0.75 + 0.35 * smooth(straight * math.copysign(1, head.traits.light), -1, 1)
    patch.paint(0.80 * cover, np.clip(hair_colour(head.traits) * shade[..., None], 0, 1))
    patch.mark(cover, "beard")


def glasses(canvas: Canvas, head: Head) -> None:
    """Two rims, a bridge, the arms, and a sheen on the lenses."""
    traits = head.traits
    if not traits.glasses:
        return
    patch = canvas.patch(-0.62, -0.42, 0.62, 0.32)
    x, y = head.at(patch)
    y = y - head.lift - 0.03
    soft = 3 * patch.pixel / HALF_HEIGHT
    frame = np.zeros_like(x * y)
    for side in (-1, 1):
        place, narrow = head.across(side * _EYE), head.narrow(side * _EYE)
        a, b = (np.abs(x - place) / (0.275 * narrow)), np.abs(y) / 0.195
        distance = ((a**3.2 + b**3.2) ** (1 / 3.2) - 1) * 0.21
        frame = np.maximum(frame, inside(np.abs(distance) - 0.017, soft))
        lens = inside(distance, soft)
        patch.paint(0.07 * lens, (0.92, 0.96, 1.0))
        glare = inside(np.abs(x - place + 0.6 * y + 0.05) - 0.045, 0.06) * lens
        patch.paint(0.12 * glare, (1.0, 1.0, 1.0))
        arm = inside(np.abs(y + 0.07) - 0.016, soft) * inside(-side * (x - place) + 0.27 * narrow, soft)
        frame = np.maximum(frame, arm * inside(np.abs(x) - 1.0, soft))
    bridge = inside(np.abs(y + 0.05 - 0.9 * (x - head.across(0)) ** 2) - 0.014, soft)
    near = 0.5 * (head.across(_EYE) - head.across(-_EYE)) - 0.265
    frame = np.maximum(frame, bridge * inside(np.abs(x - head.across(0)) - near, soft))
    patch.darken(0.18 * np.roll(frame, max(1, int(0.02 / patch.pixel)), axis=0), (0.3, 0.2, 0.2))
    patch.paint(frame, (0.10, 0.09, 0.10) if traits.grain % 2 else (0.34, 0.20, 0.12))
    patch.mark(frame, "glasses")


def _patch(canvas: Canvas, head: Head, x: float, y: float, wide: float, tall: float) -> Patch:
    """The part of the canvas round the head's (x, y), with room for the head's lean."""
    px = x * HALF_WIDTH * head.traits.width
    py = y * HALF_HEIGHT - 0.06
    sin = math.sin(head.traits.roll)
    px, py = px - (py - 0.5) * sin, py + px * sin
    return canvas.patch(
        px - wide * HALF_WIDTH - 0.03,
        py - tall * HALF_HEIGHT - 0.03,
        px + wide * HALF_WIDTH + 0.03,
        py + tall * HALF_HEIGHT + 0.03,
    )
