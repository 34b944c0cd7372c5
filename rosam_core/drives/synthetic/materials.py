"""What every surface looks like before light falls on it: albedo, gloss and glow."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from rosam_core.drives.synthetic.parts import Kind
from rosam_core.drives.synthetic.textures import band, noise, random_of, stripes


@dataclasses.dataclass
class Surface:
    """Appearance of n surface points.

    Attributes:
        albedo: float[n,3], linear, in [0, 1].
        gloss: float[n], share of mirror reflection seen head-on.
        glow: float[n,3], light given off at night, relative to a lit window = 1.
    """

    albedo: Tensor
    gloss: Tensor
    glow: Tensor


def paint(
    material: Tensor, local: Tensor, half: Tensor, normal: Tensor, footprint: Tensor
) -> Surface:
    """Paints points on primitives.

    Args:
        material: float[n,MATERIAL_FIELDS], rows of `Part.material_row`.
        local: float[n,3], position in the primitive's frame [m].
        half: float[n,3], its half extents [m].
        normal: float[n,3], unit normal in the primitive's frame.
        footprint: float[n], extent of a pixel on the surface [m].
    """
    kind = material[:, 0].long()
    surface = Surface(
        torch.zeros_like(local), torch.zeros_like(footprint), torch.zeros_like(local)
    )
    painters = {
        Kind.PLAIN: _plain,
        Kind.FACADE: _facade,
        Kind.FOLIAGE: _foliage,
        Kind.CAR_BODY: _car_body,
        Kind.CAR_CABIN: _car_cabin,
        Kind.WHEEL: _wheel,
        Kind.SIGN: _sign,
        Kind.LAMP: _lamp,
        Kind.CLOTH: _cloth,
        Kind.PAVING: _paving,
        Kind.GRASS: _grass,
        Kind.LEAVES: _leaves,
    }
    for name, painter in painters.items():
        at = torch.nonzero(kind == int(name))[:, 0]
        if len(at):
            albedo, gloss, glow = painter(
                _Points(material[at], local[at], half[at], normal[at], footprint[at])
            )
            surface.albedo[at] = albedo.clamp(0.004, 0.95)
            surface.gloss[at] = gloss
            surface.glow[at] = glow
    return surface


class _Points:
    """Points of one kind, with the quantities the painters share."""

    def __init__(
        self, material: Tensor, local: Tensor, half: Tensor, normal: Tensor, footprint: Tensor
    ) -> None:
        self.colour, self.colour2 = material[:, 1:4], material[:, 4:7]
        self.seed, self.params = material[:, 7], material[:, 8:12]
        self.local, self.half, self.normal, self.footprint = local, half, normal, footprint
        axis = normal.abs().argmax(1)
        x, y, z = local.unbind(1)
        # Coordinates on the face: along the ground and up a wall, or x and y on a roof.
        u = torch.where(axis == 0, y, x)
        v = torch.where(axis == 2, y, z)
        self.axis, self.uv = axis, torch.stack([u, v], 1)
        self.flat = torch.zeros_like(footprint)
        self.dark = torch.zeros_like(local)

    def noise(self, scale: float) -> Tensor:
        """Noise with features about 1/scale metres wide and finer."""
        return noise(self.uv * scale + self.seed[:, None] * 1.37, self.footprint * scale)


Painted = tuple[Tensor, Tensor, Tensor]


def _plain(p: _Points) -> Painted:
    grain, coarse = p.noise(2.0), p.noise(0.4)
    bark = p.params[:, 0]
    shade = 1 + 0.12 * grain[:, 0] + 0.12 * coarse[:, 1] + 0.18 * bark * grain[:, 2]
    return p.colour * shade.clamp(0.3, 1.8)[:, None], p.flat + 0.02, p.dark


def _facade(p: _Points) -> Painted:
    cell, floor, share, style = p.params.unbind(1)
    up = p.local[:, 2] + p.half[:, 2]
    is_wall = p.axis != 2
    grain, coarse = p.noise(1.6), p.noise(0.25)
    shade = (1 + 0.13 * grain[:, 0] + 0.16 * coarse[:, 1]).clamp(0.4, 1.6)
    wall = p.colour * shade[:, None]
    # Brick or cladding: courses every 8-30 cm, offset joints.
    course = 0.08 + 0.22 * torch.frac(style * 7)
    joint = torch.maximum(
        stripes(up, course, 0.14, p.footprint),
        stripes(
            p.uv[:, 0] + torch.floor(up / course) * course * 1.3, course * 2.6, 0.06, p.footprint
        ),
    )
    wall = wall * (1 - 0.35 * joint * (style > 0.35))[:, None]
    column, row = torch.floor(p.uv[:, 0] / cell), torch.floor(up / floor)
    fu = p.uv[:, 0] / cell - column
    fv = up / floor - row
    tall = 0.3 + 0.4 * torch.frac(style * 13)
    ground_floor = row < 0.5
    wide = torch.where(ground_floor, (share * 1.35).clamp_max(0.9), share)
    high = torch.where(ground_floor, tall.clamp_min(0.55), tall)
    du, dv = p.footprint / cell, p.footprint / floor
    fits = (
        torch.abs(p.uv[:, 0]) < torch.where(p.axis == 0, p.half[:, 1], p.half[:, 0]) - 0.4
    ) & is_wall
    below_eaves = up < torch.floor(2 * p.half[:, 2] / floor) * floor
    open_ = (fits & below_eaves).float()
    frame = band(fu, 0.47 - wide / 2, 0.53 + wide / 2, du) * band(
        fv, 0.47 - high / 2, 0.57 + high / 2, dv
    )
    glass = band(fu, 0.5 - wide / 2, 0.5 + wide / 2, du) * band(
        fv, 0.5 - high / 2, 0.54 + high / 2, dv
    )
    bars = stripes(fu - 0.5 + wide / 2, wide / 2, 0.1, du)
    glass = glass * (1 - 0.8 * bars) * open_
    frame = frame * open_
    dice = random_of(column, row, p.seed, p.axis.float())
    dice2 = random_of(row, column, p.seed * 3)
    curtain = torch.where(dice2 < 0.4, 0.35 * dice, 0.03 + 0.08 * dice)
    pane = curtain[:, None] * torch.tensor([0.9, 0.95, 1.0], device=wall.device)
    trim = p.colour2.clamp_max(0.8)
    albedo = torch.lerp(wall, trim, frame[:, None])
    albedo = torch.lerp(albedo, pane, glass[:, None])
    # A shop sign above the ground floor.
    shop = (style > 0.6) & is_wall
    sign = band(up, 0.82 * floor, 0.98 * floor, p.footprint) * shop.float()
    letters = 0.4 + 0.6 * (random_of(torch.floor(p.uv[:, 0] / 0.35), p.seed) > 0.5).float()
    hue = torch.stack([random_of(column // 2, p.seed + i) for i in range(3)], 1)
    albedo = torch.lerp(albedo, hue * letters[:, None] * 0.7, sign[:, None])
    lit_share = torch.where(ground_floor & shop, 0.75, 0.22)
    lit = (dice < lit_share).float() * glass
    warm = torch.tensor([1.0, 0.72, 0.4], device=wall.device)
    cold = torch.tensor([0.75, 0.9, 1.0], device=wall.device)
    tint = torch.where((dice2 < 0.7)[:, None], warm, cold)
    glow = (
        lit[:, None]
        * tint
        * (0.25 + 0.75 * dice2 * (1 + 0.25 * coarse[:, 0]).clamp(0, 2))[:, None]
    )
    glow = glow + (sign * (dice2 < 0.5))[:, None] * hue * 0.8
    return albedo, 0.12 * glass, glow


def _foliage(p: _Points) -> Painted:
    grain, coarse = p.noise(1.3), p.noise(4.0)
    clump = (1 + 0.42 * grain[:, 0] + 0.35 * coarse[:, 0] + 0.2 * coarse[:, 3]).clamp(0.12, 2.6)
    tint = 1 + 0.2 * grain[:, 1:2] * torch.tensor([1.0, 0.4, -0.2], device=p.local.device)
    return p.colour * clump[:, None] * tint, p.flat, p.dark


def _leaves(p: _Points) -> Painted:
    """Paints foliage whose leaves and twigs are seen one by one, with the sky between some."""
    coarse, clump, leaf = p.noise(0.8), p.noise(3.0), p.noise(9.0)
    fine = 0.5 * clump[:, 0] + 0.6 * leaf[:, 0] + 0.4 * leaf[:, 3]
    shade = torch.exp(0.75 * fine + 0.3 * coarse[:, 0] - 0.3).clamp(0.08, 3.5)
    hole = (0.8 * clump[:, 1] + 0.9 * leaf[:, 0] - 1.9 - torch.frac(p.seed * 3)).clamp(0, 1)
    tint = 1 + 0.25 * clump[:, 1:2] * torch.tensor([1.0, 0.4, -0.2], device=p.local.device)
    albedo = p.colour * shade[:, None] * tint
    return torch.lerp(albedo, torch.full_like(albedo, 0.8), hole[:, None]), p.flat, p.dark


def _car_body(p: _Points) -> Painted:
    _, y, z = (p.local / p.half).unbind(1)
    colour = p.colour * (1 + 0.03 * p.noise(0.7)[:, 1:2])
    f = p.footprint
    front, rear = p.normal[:, 0] > 0.7, p.normal[:, 0] < -0.7
    end = (front | rear).float()
    lamp = (
        band(y.abs(), 0.62, 0.95, f / p.half[:, 1]) * band(z, 0.25, 0.72, f / p.half[:, 2]) * end
    )
    grille = (
        band(y.abs(), 0.0, 0.5, f / p.half[:, 1])
        * band(z, -0.35, 0.5, f / p.half[:, 2])
        * front.float()
    )
    plate = (
        band(y.abs(), 0.0, 0.28, f / p.half[:, 1]) * band(z, -0.6, -0.25, f / p.half[:, 2]) * end
    )
    bumper = band(z, -1.0, -0.62, f / p.half[:, 2])
    side = (p.normal[:, 1].abs() > 0.7).float()
    seam = stripes(p.local[:, 0] + 0.2, 1.05, 0.02, f) * side * band(z, -0.6, 1.0, f)
    handle = (
        band(torch.frac((p.local[:, 0] + 0.35).abs() / 1.05), 0.72, 0.88, f)
        * band(z, 0.55, 0.68, f)
        * side
    )
    colour = colour * (1 - 0.6 * (seam + handle).clamp(0, 1))[:, None]
    grey = torch.tensor([0.03, 0.03, 0.033], device=colour.device)
    colour = torch.lerp(
        colour, grey.expand_as(colour), (grille * 0.9 + bumper * 0.75).clamp(0, 1)[:, None]
    )
    white = torch.tensor([0.72, 0.72, 0.68], device=colour.device)
    colour = torch.lerp(colour, white.expand_as(colour), plate[:, None])
    red = torch.tensor([0.42, 0.02, 0.02], device=colour.device)
    lens = torch.where(rear[:, None], red, white)
    colour = torch.lerp(colour, lens, lamp[:, None])
    glow = torch.where(
        rear[:, None],
        torch.tensor([2.2, 0.08, 0.05], device=colour.device),
        torch.tensor([16.0, 15.0, 13.0], device=colour.device),
    )
    lit = (p.colour2[:, 0] > 0.5).float()  # set by the renderer for vehicles with their lights on
    glow = glow * (lamp * lit)[:, None]
    return colour, 0.06 * (1 - bumper), glow


def _car_cabin(p: _Points) -> Painted:
    panel = p.params[:, 2]
    x, y, z = (p.local / p.half).unbind(1)
    roof = (p.normal[:, 2] > 0.8).float()
    f = p.footprint / p.half[:, 0]
    side = (p.normal[:, 1].abs() > 0.5).float()
    pillar = (stripes(x + 0.96, 0.62, 0.07, f) * side).clamp(0, 1)
    edge = 1 - band(z, -0.85, 0.82, p.footprint / p.half[:, 2])
    rim = side * (1 - band(x, -0.93, 0.93, f)) + (1 - side) * (1 - band(y, -0.92, 0.92, f))
    closed = panel * ((x < 0.45) & (p.normal[:, 0] < 0.7)).float()
    solid = torch.maximum(
        torch.maximum(roof, closed), torch.maximum(edge, torch.maximum(pillar, rim))
    )
    body = p.colour * (1 + 0.03 * p.noise(0.7)[:, 1:2])
    inside = 0.025 + 0.05 * p.noise(1.5)[:, 1:2].clamp(0, 1)
    glass = inside * torch.tensor([0.8, 0.95, 1.0], device=body.device)
    return (
        torch.lerp(glass, body, solid[:, None]),
        torch.lerp(p.flat + 0.16, p.flat + 0.05, solid),
        p.dark,
    )


def _wheel(p: _Points) -> Painted:
    r = torch.sqrt(p.local[:, 0] ** 2 + p.local[:, 2] ** 2) / p.half[:, 0]
    angle = torch.atan2(p.local[:, 2], p.local[:, 0])
    spoke = 0.5 + 0.5 * torch.cos(angle * 5 + p.seed)
    rim = band(r, 0.0, 0.62, p.footprint / p.half[:, 0]) * (0.35 + 0.65 * spoke)
    return torch.lerp(p.colour, p.colour2, rim[:, None]), 0.05 * rim, p.dark


def _sign(p: _Points) -> Painted:
    is_box = p.params[:, 0]
    uv = p.uv / torch.stack(
        [torch.where(p.axis == 0, p.half[:, 1], p.half[:, 0]), p.half[:, 2]], 1
    )
    cell = torch.floor(uv * 4 + p.seed[:, None])
    glyph = (random_of(cell[:, 0], cell[:, 1], p.seed) > 0.6).float()
    border = 1 - band(uv[:, 0], -0.82, 0.82, p.footprint) * band(
        uv[:, 1], -0.82, 0.82, p.footprint
    )
    far = (p.footprint * 12).clamp(0, 1)
    mark = torch.lerp(torch.maximum(glyph * 0.8, border), p.flat + 0.5, far)
    mark = torch.where(is_box > 0, mark * 0.8 * (torch.frac(p.seed) > 0.5), mark)
    colour = torch.lerp(p.colour, p.colour2, mark[:, None]) * (1 + 0.05 * p.noise(0.8)[:, 1:2])
    return colour, p.flat + 0.05, p.dark


def _lamp(p: _Points) -> Painted:
    lantern, lamp = p.params[:, 0], p.params[:, 1]
    down = (p.normal[:, 2] < -0.5).float() + 0.4 * (p.normal[:, 2].abs() < 0.5).float()
    street = p.colour2 * (60.0 * down)[:, None]
    z, y = p.local[:, 2] / p.half[:, 2], p.local[:, 1]
    spot = torch.floor((1 - z) * 1.5).clamp(0, 2)
    disc = (((z - (2 - 2 * spot) / 3) * p.half[:, 2]) ** 2 + y**2 < 0.012).float() * (
        p.normal[:, 0] < -0.5
    )
    hues = torch.tensor(
        [[1.0, 0.05, 0.03], [1.0, 0.55, 0.03], [0.05, 1.0, 0.5]], device=p.local.device
    )
    on = disc * (spot == lamp).float()
    traffic = hues[spot.long()] * on[:, None] * 8
    is_street = (lantern == 1)[:, None]
    albedo = torch.where(
        is_street, p.colour, p.colour + hues[spot.long()] * (disc * 0.05 + on * 0.6)[:, None]
    )
    return albedo, p.flat + 0.03, torch.where(is_street, street, traffic)


def _cloth(p: _Points) -> Painted:
    grain = p.noise(4.0)
    return p.colour * (1 + 0.25 * grain[:, 1:2]).clamp(0.4, 1.7), p.flat, p.dark


def _paving(p: _Points) -> Painted:
    grain, coarse = p.noise(3.0), p.noise(0.5)
    size = 0.3 + 0.9 * torch.frac(p.seed * 0.37 // 4)
    joint = torch.maximum(
        stripes(p.uv[:, 0], size, 0.035, p.footprint),
        stripes(p.uv[:, 1], size, 0.035, p.footprint),
    )
    shade = 1 + 0.1 * grain[:, 0] + 0.12 * coarse[:, 1] + 0.06 * grain[:, 3]
    top = p.colour * (shade * (1 - 0.35 * joint)).clamp(0.3, 1.7)[:, None]
    curb = (
        p.colour2
        * (1 + 0.12 * grain[:, 0:1])
        * (1 - 0.5 * stripes(p.uv[:, 0], p.flat + 1.0, 0.03, p.footprint))[:, None]
    )
    edge = (p.axis != 2) | (p.local[:, 1].abs() > p.half[:, 1] - 0.15)
    return torch.where(edge[:, None], curb, top), p.flat + 0.02, p.dark


def _grass(p: _Points) -> Painted:
    return turf(p.colour, p.noise(3.0), p.noise(0.3)), p.flat, p.dark


def turf(colour: Tensor, grain: Tensor, coarse: Tensor) -> Tensor:
    """Returns the albedo of grass or bare land, float[n,3].

    Args:
        colour: float[n,3], its mean.
        grain: float[n,CHANNELS], noise a few centimetres wide.
        coarse: float[n,CHANNELS], noise some metres wide.
    """
    shade = (1 + 0.3 * grain[:, 0] + 0.25 * grain[:, 3] + 0.25 * coarse[:, 1]).clamp(0.25, 2.0)
    return (
        colour
        * shade[:, None]
        * (1 + 0.15 * coarse[:, :1] * torch.tensor([1.0, 0.2, 0.0], device=colour.device))
    )
