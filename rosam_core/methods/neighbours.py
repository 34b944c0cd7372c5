"""How well depth and motion explain the frames before and after an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rosam_core.geometry.warping import warp
from rosam_core.losses.photometric import minimum_over_sources, photometric_errors
from rosam_core.methods.base import Batch


def neighbour_error(
    batch: Batch, depth: Tensor, T_source_target: Tensor, scale: int = 1
) -> tuple[Tensor, Tensor]:
    """Returns pe(I_t, I_s warped by depth and motion), least over the sources.

    Args:
        batch: `clean` float[b,3,h,w], the target; `sources` float[b,s,3,h,w], its neighbours in
            time, anything where bool[b,s] `source_known` is False; `K` float[b,3,3].
        depth: float[b,1,h,w], of the target, for its own focal length [m].
        T_source_target: float[b,s,4,4], maps points of the target camera to each source camera;
            a source whose matrix is not finite is as good as absent.
        scale: Compare pictures this many times smaller: less noise, and less work.

    Returns:
        error: float[b,1,h,w] in [0, 1], 0 where not seen.
        seen: bool[b,1,h,w], at least one source sees the pixel.

    Raises:
        ValueError: Height or width is no multiple of the scale.
    """
    if scale > 1:
        coarse = neighbour_error(*_reduced(batch, depth, scale), T_source_target)
        error, seen = (_enlarged(x, scale) for x in coarse)
        return error, seen
    images, valid = [], []
    identity = torch.eye(4, dtype=depth.dtype, device=depth.device)
    for i, source in enumerate(batch["sources"].unbind(1)):
        pose = T_source_target[:, i]
        known = torch.isfinite(pose).all(-1).all(-1)
        warped = warp(source, depth, batch["K"], torch.where(known[:, None, None], pose, identity))
        images.append(warped.image)
        known = known & batch["source_known"][:, i]
        valid.append(warped.valid & known[:, None, None, None])
    errors = photometric_errors(batch["clean"], images)
    return minimum_over_sources(errors, torch.cat(valid, dim=1))


def view_depth(canonical: Tensor, batch: Batch, canonical_focal_px: float) -> Tensor:
    """Returns a student's depth in metres of the view: D f / f_c.

    Args:
        canonical: float[b,1,h,w], depth as for the canonical focal length [m].
        batch: `K` float[b,3,3].
        canonical_focal_px: f_c; f is the mean of the view's, sqrt(fx fy) [px].
    """
    return canonical * metres_per_unit(batch, canonical_focal_px).view(-1, 1, 1, 1)


def metres_per_unit(batch: Batch, canonical_focal_px: float) -> Tensor:
    """Returns by what depth for the canonical focal length becomes that of the view, float[b]."""
    K = batch["K"]
    return (K[:, 0, 0] * K[:, 1, 1]).sqrt() / canonical_focal_px


def _reduced(batch: Batch, depth: Tensor, scale: int) -> tuple[Batch, Tensor]:
    """Returns batch and depth of pictures a whole number of times smaller."""
    h, w = depth.shape[-2:]
    if h % scale or w % scale:
        raise ValueError(f"cannot compare pictures of {w}x{h} at 1/{scale} of their size")
    K = batch["K"].clone()
    K[:, :2] /= scale
    K[:, :2, 2] += 0.5 / scale - 0.5  # the centre of the first pixel is (0, 0) at every size
    sources = batch["sources"]
    smaller = {
        "clean": functional.avg_pool2d(batch["clean"], scale),
        "sources": functional.avg_pool2d(sources.flatten(0, 1), scale).unflatten(
            0, sources.shape[:2]
        ),
        "K": K,
    }
    return batch | smaller, 1 / functional.avg_pool2d(1 / depth, scale)


def _enlarged(values: Tensor, scale: int) -> Tensor:
    """Returns each pixel `scale` times in both directions."""
    return values.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
