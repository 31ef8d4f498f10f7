"""What one drawn person is like, as a function of (seed, number)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.randomness import derive_seed

Colour = tuple[float, float, float]

SKINS: dict[str, Colour] = {
    "pale": (0.96, 0.82, 0.74),
    "light": (0.92, 0.74, 0.62),
    "olive": (0.82, 0.63, 0.48),
    "brown": (0.62, 0.43, 0.31),
    "dark": (0.41, 0.27, 0.20),
}
HAIRS: dict[str, Colour] = {
    "black": (0.10, 0.08, 0.08),
    "brown": (0.32, 0.19, 0.11),
    "blond": (0.82, 0.65, 0.37),
    "red": (0.58, 0.24, 0.10),
    "grey": (0.68, 0.67, 0.66),
}
STYLES = ("short", "long", "curly", "bald")
EYES: tuple[Colour, ...] = (
    (0.28, 0.16, 0.08),
    (0.40, 0.27, 0.13),
    (0.22, 0.42, 0.62),
    (0.28, 0.46, 0.30),
    (0.42, 0.48, 0.52),
)
CLOTHES: dict[str, Colour] = {
    "blue": (0.20, 0.27, 0.42),
    "red": (0.55, 0.20, 0.22),
    "green": (0.22, 0.40, 0.34),
    "white": (0.85, 0.83, 0.78),
    "black": (0.16, 0.16, 0.18),
    "yellow": (0.72, 0.55, 0.25),
    "purple": (0.47, 0.36, 0.55),
}


@dataclass(frozen=True)
class Traits:
    """Names and numbers of one face. Angles in radians; the rest is of order one, 0 for neutral."""

    skin: str
    hair: str
    style: str
    glasses: bool
    beard: bool
    smile: float  # -0.3 (earnest) to 1 (showing teeth from 0.6)
    age: float  # 0 young to 1 old
    yaw: float
    pitch: float
    roll: float
    width: float
    jaw: float
    eye_size: float
    eye_gap: float
    brow: float
    nose: float
    lips: float
    gaze: float
    light: float  # angle of the key light, negative from the left
    tone: float
    eyes: Colour
    clothes: str
    backdrop: tuple[Colour, Colour]
    grain: int

    def about(self) -> dict[str, str | bool | float]:
        """The labelled attributes, as JSON."""
        return {
            "skin": self.skin,
            "hair": self.hair,
            "style": self.style,
            "glasses": self.glasses,
            "beard": self.beard,
            "smile": round(self.smile, 3),
            "age": round(self.age, 3),
            "yaw": round(self.yaw, 3),
            "pitch": round(self.pitch, 3),
            "roll": round(self.roll, 3),
        }


class _Dice:
    """Draws from one stream; only its uniform numbers are used, which stay the same across versions."""

    def __init__(self, seed: int) -> None:
        self._raw = np.random.PCG64(seed)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * (int(self._raw.random_raw()) >> 11) / (1 << 53)

    def bell(self, spread: float) -> float:
        """About normal, never beyond three times `spread`."""
        return spread * sum(self.uniform(-1.0, 1.0) for _ in range(3))

    def choice(self, weights: Sequence[float]) -> int:
        at, mark = self.uniform(0.0, sum(weights)), 0.0
        for number, weight in enumerate(weights):
            mark += weight
            if at < mark:
                return number
        return len(weights) - 1


def traits(seed: int, number: int) -> Traits:
    """Person `number` of the crowd `seed`."""
    dice = _Dice(derive_seed(seed, "face", number))
    age = dice.uniform() ** 1.3
    style = STYLES[dice.choice((0.42, 0.34, 0.17, 0.07))]
    skin = tuple(SKINS)[dice.choice((1, 1.3, 1.1, 1, 0.8))]
    grey = 1.6 if age > 0.6 else 0.12
    hair = tuple(HAIRS)[dice.choice((1, 1.2, 0.8, 0.4, grey))]
    hue = dice.uniform()
    return Traits(
        skin=skin,
        hair=hair,
        style=style,
        glasses=dice.uniform() < 0.25,
        beard=style != "long" and dice.uniform() < 0.28,
        smile=dice.uniform(-0.3, 1.0),
        age=age,
        yaw=dice.bell(0.14),
        pitch=dice.bell(0.03),
        roll=dice.bell(0.05),
        width=1 + dice.bell(0.025),
        jaw=dice.uniform(0.16, 0.34),
        eye_size=1 + dice.bell(0.05),
        eye_gap=1 + dice.bell(0.02),
        brow=dice.uniform(0.6, 1.4),
        nose=1 + dice.bell(0.07),
        lips=1 + dice.bell(0.1),
        gaze=dice.bell(0.12),
        light=dice.uniform(-1.0, 1.0),
        tone=1 + dice.bell(0.03),
        eyes=EYES[dice.choice((1.4, 1, 0.9, 0.5, 0.4))],
        clothes=tuple(CLOTHES)[dice.choice([1] * len(CLOTHES))],
        backdrop=(_hue(hue, 0.34, dice.uniform(0.55, 0.95)), _hue(hue + 0.08, 0.42, dice.uniform(0.25, 0.6))),
        grain=derive_seed(seed, "grain", number) % (1 << 31),
    )


def _hue(turn: float, saturation: float, value: float) -> Colour:
    red, green, blue = (0.5 + 0.5 * np.cos(2 * np.pi * (turn + third / 3)) for third in range(3))
    return (
        float(value * (1 - saturation * (1 - red))),
        float(value * (1 - saturation * (1 - green))),
        float(value * (1 - saturation * (1 - blue))),
    )
