"""Styles of synthetic worlds: two that differ in everything but what depth is.

`any` draws from all that there is. `source` and `target` are what domain adaptation needs: a town
of dull plaster under fair weather, seen by one kind of camera, and other towns with other
streets, colours, walls, cameras, more moving traffic, heavier weather and a noisier sensor.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.street import STYLE_SHARES, STYLES

if TYPE_CHECKING:
    from rosam_core.drives.synthetic.light import Light
    from rosam_core.drives.synthetic.sensor import Sensor

GREEN = (Kind.FOLIAGE, Kind.GRASS, Kind.LEAVES)
KEPT = (Kind.LAMP, Kind.WHEEL)  # colours that mean something to the painter
FINE_LEAVES = 0.6  # share of plants in cluttered worlds whose leaves are seen one by one
MAX_EXTINCTION = 0.2  # 1/m: visibility of 15 m


@dataclasses.dataclass(frozen=True)
class WorldStyle:
    """What the worlds of a style have in common.

    Attributes:
        name: In `drive.json` and on the command line.
        streets: Share of each of `street.STYLES`; the sum is 1.
        fov_deg: Range of the horizontal field of view [degrees].
        height_m: Range of the camera's height [m], or None for that of all kinds of vehicles.
        is_front: The camera looks where the vehicle goes.
        gaps_m: Mean gaps in the traffic, one of which is drawn for a street [m].
        hue_deg: Rotation of every painted colour about grey [degrees].
        hue_green_deg: The same of leaves and grass.
        saturation: 1 = as drawn.
        courses: Range of the pattern of walls: below 0.35 plaster, above brick and cladding.
        weather: Factor of fog, rain and darkness.
        noise: Factor of the sensor's noise.
        clutter: Amount of things of no kind, see `clutter.py`; above 0 vehicles are odd, too.
    """

    name: str
    streets: tuple[float, ...] = STYLE_SHARES
    fov_deg: tuple[float, float] = (40.0, 110.0)
    height_m: tuple[float, float] | None = None
    is_front: bool = False
    gaps_m: tuple[float, ...] = (15.0, 30.0, 70.0)
    hue_deg: float = 0.0
    hue_green_deg: float = 0.0
    saturation: float = 1.0
    courses: tuple[float, float] = (0.0, 1.0)
    weather: float = 1.0
    noise: float = 1.0
    clutter: float = 0.0

    def __post_init__(self) -> None:
        if len(self.streets) != len(STYLES) or not math.isclose(sum(self.streets), 1):
            raise ValueError(
                f"need {len(STYLES)} shares of streets with the sum 1: {self.streets}"
            )

    def material(self, row: list[float]) -> list[float]:
        """Returns a row of `Part.material_row` in the colours and patterns of the style."""
        kind = Kind(int(row[0]))
        if kind in KEPT:
            return row
        hue = self.hue_green_deg if kind in GREEN else self.hue_deg
        row = list(row)
        if hue or self.saturation != 1:
            row[1:4] = self._colour(row[1:4], hue)
            if kind not in (Kind.CAR_BODY, Kind.CAR_CABIN):  # whose second colour is a switch
                row[4:7] = self._colour(row[4:7], hue)
        if kind == Kind.FOLIAGE and self.clutter and math.fmod(row[7] * 7, 1) < FINE_LEAVES:
            row[0] = float(Kind.LEAVES)
        if kind == Kind.FACADE:
            low, high = self.courses
            row[11] = low + (high - low) * row[11]
        return row

    def _colour(self, colour: list[float], hue_deg: float) -> list[float]:
        rgb = np.array(colour)
        grey = rgb.mean()
        angle = math.radians(hue_deg)
        axis = np.full(3, 1 / math.sqrt(3))
        turned = (
            rgb * math.cos(angle)
            + np.cross(axis, rgb) * math.sin(angle)
            + axis * (axis @ rgb) * (1 - math.cos(angle))
        )
        return [float(c) for c in np.clip(grey + (turned - grey) * self.saturation, 0.01, 0.95)]

    def light(self, light: Light) -> Light:
        """Returns the light of a drive in the weather of the style."""
        factor = self.weather
        if factor == 1:
            return light
        if light.is_night:
            darker = {
                name: tuple(value / factor for value in getattr(light, name))
                for name in ("zenith", "horizon")
            }
            return dataclasses.replace(light, lamp_power=light.lamp_power / factor, **darker)
        if max(light.sun_colour) > 0 or light.extinction < 0.003:
            return light  # a fair day
        extinction = min(light.extinction * factor, max(light.extinction, MAX_EXTINCTION))
        return dataclasses.replace(light, extinction=extinction)

    def sensor(self, sensor: Sensor) -> Sensor:
        """Returns the camera of a drive with the noise, the rain and the drops of the style."""
        return dataclasses.replace(
            sensor,
            noise=sensor.noise * self.noise,
            rain=min(sensor.rain * self.weather, 1.0),
            drops=round(sensor.drops * self.weather),
        )


WORLD_STYLES = {
    style.name: style
    for style in (
        WorldStyle("any"),
        WorldStyle(
            "source",
            streets=(0.5, 0.5, 0.0, 0.0, 0.0),
            fov_deg=(65.0, 80.0),
            height_m=(1.45, 1.65),
            is_front=True,
            gaps_m=(70.0, 140.0),
            saturation=0.5,
            courses=(0.0, 0.34),
        ),
        WorldStyle(
            "target",
            streets=(0.3, 0.1, 0.2, 0.25, 0.15),
            fov_deg=(50.0, 95.0),
            height_m=(1.2, 1.95),
            is_front=True,
            gaps_m=(12.0, 20.0, 35.0),
            hue_deg=150.0,
            hue_green_deg=-70.0,
            saturation=1.3,
            courses=(0.35, 1.0),
            weather=1.6,
            noise=1.6,
        ),
        WorldStyle("cluttered", clutter=1.0),
    )
}
"""Every style by its name."""
