"""`rosam weights`: a published ResNet-18 depth network becomes ours; means of checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosam_core.commands.weights_average import add_average

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_SIZE = "640x192"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `rosam weights`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = (
        "turn your copy of a Monodepth2-style checkpoint (ResNet-18) into one that `rosam export` "
        "and `rosam train model.name=monodepth2 model.init=...` take"
    )
    add = actions.add_parser("import", help=text, description=text)
    add.add_argument("--encoder", type=Path, metavar="FILE", help="Monodepth2's encoder.pth")
    add.add_argument("--decoder", type=Path, metavar="FILE", help="Monodepth2's depth.pth")
    add.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="both in one file, as md4all saves them"
    )
    add.add_argument("-o", "--output", type=Path, required=True, help="the .pt file")
    add.add_argument(
        "--size",
        default=None,
        metavar="WxH",
        help="network size (encoder.pth says it, or 640x192)",
    )
    add.add_argument(
        "--focal",
        type=float,
        required=True,
        metavar="PX",
        help="focal length of the training camera at network size; KITTI at 640x192 has 371",
    )
    add.add_argument("--near", type=float, default=0.1, help="least depth [m] (0.1)")
    add.add_argument("--far", type=float, default=100.0, help="largest depth [m] (100)")
    add.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="factor to metres: 5.4 for Monodepth2's stereo models (1)",
    )
    add.add_argument(
        "--relative", action="store_true", help="depth is known up to a factor only, not in metres"
    )
    add.add_argument(
        "--licence",
        default="NOASSERTION",
        metavar="SPDX",
        help="of the weights, for the cards of what is made of them (NOASSERTION: not known)",
    )
    add.add_argument("--mean", type=float, default=0.45, help="of the normalisation (0.45)")
    add.add_argument("--std", type=float, default=0.225, help="of the normalisation (0.225)")
    add.set_defaults(act=_import, wrong_arguments=add.error)
    text = "average the weights of checkpoints that descend from one another"
    add_average(actions.add_parser("average", help=text, description=text))


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns its exit code."""
    return int(args.act(args))


def _import(args: argparse.Namespace) -> int:
    if (args.checkpoint is None) == (args.encoder is None or args.decoder is None):
        args.wrong_arguments("give --encoder and --decoder, or --checkpoint")
    if args.checkpoint is not None and (args.encoder or args.decoder):
        args.wrong_arguments("--checkpoint holds both: leave out --encoder and --decoder")
    if not args.scale > 0 or not args.focal > 0:
        args.wrong_arguments("--scale and --focal must be greater than 0")
    from rosam_core.checkpoint import save_checkpoint
    from rosam_core.config import from_mapping, to_yaml
    from rosam_core.models.monodepth2 import Monodepth2Student, published_weights
    from rosam_core.recipe import Recipe

    if args.checkpoint is not None:
        encoder, decoder = _split(_state(args.checkpoint), args.checkpoint)
        stated: dict[str, Any] = {}
    else:
        stated = _state(args.encoder)
        encoder, decoder = stated, _state(args.decoder)
    width, height = _size(args.size, stated)
    student = Monodepth2Student(
        depth_range_m=(args.near * args.scale, args.far * args.scale), mean=args.mean, std=args.std
    )
    weights = published_weights(encoder, decoder, student)
    recipe = from_mapping(
        Recipe,
        {
            "model": {"name": "monodepth2"},
            "data": {
                "width": width,
                "height": height,
                "canonical_focal_px": args.focal,
                "min_depth_m": args.near * args.scale,
                "max_depth_m": args.far * args.scale,
            },
        },
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        args.output,
        {
            "networks": {"student": weights},
            "ema": weights,
            "step": 0,
            "focal_range": [args.focal, args.focal],
            "validation": {},
            "recipe": to_yaml(recipe),
            "commit": "imported",
            "is_metric": not args.relative,
            "licence": args.licence,
            "origin": f"what its authors trained it on: imported from {_names(args)}",
        },
    )
    print(f"{args.output}: {width}x{height}; next: rosam export {args.output} -o model.onnx")
    return 0


def _names(args: argparse.Namespace) -> str:
    files = [args.checkpoint] if args.checkpoint else [args.encoder, args.decoder]
    return " and ".join(f"{file.parent.name}/{file.name}".lstrip("/") for file in files)


def _state(path: Path) -> dict[str, Any]:
    """Returns the state dictionary that a file holds, by itself or as `state_dict`."""
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows as one of half a dozen types
        reason = str(error).split("\n", maxsplit=1)[0]
        raise ValueError(
            f"{path} is damaged, or holds more than tensors: {reason}. If you trust it: "
            "s = torch.load(PATH, weights_only=False); torch.save(s['state_dict'], NEW)"
        ) from error
    inner = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(inner, dict) or not inner:
        raise ValueError(f"{path} holds no state dictionary (parameter name to tensor)")
    return inner


def _split(state: dict[str, Any], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns the encoder's and the decoder's part of `[depth_model.]encoder.encoder...`."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for name, tensor in state.items():
        for prefix in ("depth_model.", "depth_net.", ""):
            for part, found in parts.items():
                start = f"{prefix}{part}.{part}."
                if name.startswith(start):
                    found[name[len(f"{prefix}{part}.") :]] = tensor
    if not all(parts.values()):
        raise ValueError(
            f"{path} has no depth network: expected names such as "
            f"depth_model.encoder.encoder.conv1.weight, found {next(iter(state))}"
        )
    return parts["encoder"], parts["decoder"]


def _size(text: str | None, stated: dict[str, Any]) -> tuple[int, int]:
    if text is None and "width" in stated and "height" in stated:
        return int(stated["width"]), int(stated["height"])
    width, separator, height = (text or DEFAULT_SIZE).partition("x")
    if not separator or not width.isdigit() or not height.isdigit():
        raise ValueError(f"--size is WxH, such as {DEFAULT_SIZE}, got {text}")
    return int(width), int(height)
