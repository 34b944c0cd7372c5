"""Multi-scale gradient matching: depth edges where the truth has them, flat where it is flat."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def gradient_matching(difference: Tensor, valid: Tensor, step: int = 1) -> tuple[Tensor, Tensor]:
    """Returns |difference of neighbours of R|, for R = log d - log d*, at one scale.

    Li and Snavely, "MegaDepth", CVPR 2018, eq. 6: sum over scales k of |dx R_k| + |dy R_k|, with
    R_k subsampled by `step`. Invariant to a global scale of depth.

    Args:
        difference: float[b,1,h,w], R; finite where `valid`, anything elsewhere.
        valid: bool[b,1,h,w], the target is known.
        step: Subsampling, 1, 2, 4, ...

    Returns:
        error: float[b,1,ceil(h/step),ceil(w/step)], |dx R| + |dy R|, 0 for pairs that are not
            both valid and past the last row and column.
        counted: bool, same shape, at least one of the two pairs is valid.
    """
    valid = valid[..., ::step, ::step]
    difference = difference[..., ::step, ::step].masked_fill(~valid, 0.0)
    pair_x = valid[..., :, 1:] & valid[..., :, :-1]
    pair_y = valid[..., 1:, :] & valid[..., :-1, :]
    error_x = (difference[..., :, 1:] - difference[..., :, :-1]).abs() * pair_x
    error_y = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * pair_y
    error = functional.pad(error_x, (0, 1, 0, 0)) + functional.pad(error_y, (0, 0, 0, 1))
    counted = functional.pad(pair_x, (0, 1, 0, 0)) | functional.pad(pair_y, (0, 0, 0, 1))
    return error, counted
