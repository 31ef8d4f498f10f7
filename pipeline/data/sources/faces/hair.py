"""Hair behind and in front of the head: a mass with strands that catch the light."""

from __future__ import annotations

import math

import numpy as np

from pipeline.data.sources.faces.canvas import Canvas, Plane, ellipse, inside, smooth, wave
from pipeline.data.sources.faces.head import Head, hair_colour


def behind(canvas: Canvas, head: Head) -> None:
    """What falls behind the neck, or stands out around the head."""
    traits = head.traits
    if traits.style not in ("long", "curly"):
        return
    patch = canvas.patch(-0.95, -0.95, 0.95, 1.0)
    x, y = head.at(patch)
    x = x + 0.12 * traits.yaw
    if traits.style == "long":
        wide = 1.14 + 0.10 * np.sin(y * 2.3 + traits.gaze * 9) + 0.06 * smooth(y, 0.3, 1.5)
        crown = ellipse(x, y + 0.05, 1.18, 1.16)
        fall = np.maximum(np.abs(x) - wide, np.maximum(-0.05 - y, y - 1.45 - 0.06 * np.sin(x * 9)))
        edge = np.minimum(crown, fall)
        light = _strands(head, x * 7 + 0.6 * np.sin(y * 3), y)
    else:
        angle = np.arctan2(y + 0.2, x)
        edge = ellipse(x, y + 0.16, 1.34, 1.16) + 0.045 * wave(angle, traits.grain, 3, 9.0)
        light = _curls(head, x, y)
    light = light * (0.62 + 0.20 * smooth(-y, -1.0, 0.6))
    cover = inside(edge, 0.02 + 3 * patch.pixel)
    patch.paint(cover, np.clip(hair_colour(traits) * light[..., None], 0, 1))
    patch.mark(cover, "hair")


def front(canvas: Canvas, head: Head) -> None:
    """The cap of hair over the skull, down to the hairline."""
    traits = head.traits
    if traits.style == "bald":
        return
    patch = canvas.patch(-0.75, -0.95, 0.75, 0.55)
    x, y = head.at(patch)
    angle = np.arctan2(y + 0.1, x)
    rough = 0.025 * wave(angle, traits.grain, 4, 11.0)
    if traits.style == "curly":
        rough = rough * 2.4
    high = 1.13 if traits.style == "short" else 1.17
    outline = ellipse(x + 0.10 * traits.yaw, y + 0.06, 1.075, high) + rough
    opening = _opening(head, x, y)
    soft = 0.03 + 3 * patch.pixel
    cover = inside(outline, soft) * (1 - inside(opening + 0.5 * rough, soft + 0.03))
    cover = cover * inside(y - _reach(head, x), 0.10)
    light = _curls(head, x, y) if traits.style == "curly" else _strands(head, *_flow(head, x, y))
    shadow = inside(opening + 0.06, 0.10) * inside(-opening - 0.10, 0.10) * inside(np.abs(x) - 0.95, 0.1)
    patch.darken(0.22 * shadow * inside(y - 0.2, 0.3), (0.55, 0.38, 0.32))
    patch.paint(cover, np.clip(hair_colour(traits) * light[..., None], 0, 1))
    patch.mark(cover, "hair")


def _opening(head: Head, x: Plane, y: Plane) -> Plane:
    """Distance from the window that the face looks out of; negative inside."""
    traits = head.traits
    part = 0.35 * math.copysign(1, traits.light)
    centre = x - 0.55 * traits.yaw
    if traits.style == "long":
        fringe = -0.60 + 0.30 * (np.abs(centre - part)) ** 1.5 - 0.05
        return np.maximum(np.abs(centre) - 0.86 - 0.05 * y, fringe - y)
    recede = 0.16 * traits.age * smooth(np.abs(centre), 0.15, 0.45) * inside(np.abs(centre) - 0.62, 0.2)
    fringe = (
        -0.64 - recede + 0.42 * np.abs(centre * 0.95) ** 4 + 0.06 * centre * math.copysign(1, traits.light)
    )
    return np.maximum(np.abs(centre) - 0.90, fringe - y)


def _reach(head: Head, x: Plane) -> Plane:
    """How far down the hair beside the face goes."""
    style = head.traits.style
    if style == "long":
        return np.full_like(x, 1.2)
    return np.full_like(x, 0.05 if style == "short" else 0.22)


def _flow(head: Head, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """(across the strands, along them): combed from a parting over the skull."""
    part = 0.35 * math.copysign(1, head.traits.light)
    dx, dy = x - part, y + 1.05
    around = np.arctan2(dx, dy + 0.35)
    return around * 9 + 0.8 * np.sqrt(dx**2 + dy**2), y


def _strands(head: Head, across: Plane, along: Plane) -> Plane:
    """Light on smooth hair: fine lines, and a band of gloss."""
    fine = wave(across, head.traits.grain, octaves=6, base=1.7)
    band = np.exp(-(((along + 0.72 + 0.05 * fine) / 0.16) ** 2))
    return 0.86 + 0.24 * fine + 0.45 * band + 0.10 * smooth(-along, 0.2, 1.0)


def _curls(head: Head, x: Plane, y: Plane) -> Plane:
    """Light on curls: small overlapping rings."""
    seed = head.traits.grain
    warp_x = x * 9 + 0.9 * wave(y, seed, 3, 5.0)
    warp_y = y * 9 + 0.9 * wave(x, seed + 1, 3, 5.0)
    rings = np.sin(warp_x * 2.1) * np.sin(warp_y * 2.3) + 0.6 * np.sin(warp_x * 4.7 + warp_y * 3.1)
    return 0.85 + 0.30 * rings + 0.15 * smooth(-y, 0.2, 1.0)
