"""`rosam engine`: build TensorRT engines, and see, check and remove those that are built."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rosam_core.engines.cuda_device import Gpu
    from rosam_core.engines.engine_cache import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `rosam engine build`, `list`, `verify` and `prune`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = _action(actions, "build", "build an engine for this GPU and compare it with the CPU")
    build.add_argument("model", type=Path, nargs="?", help=".onnx file (the packaged model)")
    build.add_argument(
        "--precision",
        choices=("fp16", "int8", "fp32"),
        help="fp16 by default, int8 for a model of `rosam quantize`",
    )
    build.add_argument(
        "--batch",
        type=_batches,
        default=(1,),
        metavar="N,...",
        help="batch sizes to tune for; every size up to the largest can be run (default: 1)",
    )
    build.add_argument(
        "--library",
        choices=("auto", "tensorrt", "tensorrt-rtx"),
        default="auto",
        help="what builds and runs it (default: the first that is installed)",
    )
    build.add_argument(
        "--compute-capability",
        type=_names,
        default=(),
        metavar="8.6,...",
        help="tensorrt-rtx only: GPUs to build for (default: the one that is here)",
    )
    build.add_argument(
        "--timing-cache",
        type=Path,
        metavar="FILE",
        help="keep measured kernels here (default: in the cache, for each GPU and version)",
    )
    build.add_argument("--force", action="store_true", help="build it again if it is there")
    build.set_defaults(act=_build)
    listing = _action(actions, "list", "say which engines are there, and which run here")
    listing.set_defaults(act=_list)
    verify = _action(actions, "verify", "compare engines with their cards, and with the CPU")
    verify.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="also run the engines of this .onnx file that run here against ONNX Runtime",
    )
    verify.set_defaults(act=_verify)
    prune = _action(actions, "prune", "remove engines that do not run here any more, and damage")
    prune.add_argument("--all", action="store_true", help="remove every engine")
    prune.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    prune.set_defaults(act=_prune)


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of engines ($ROSAM_ENGINE_CACHE, or ~/.cache/rosam/engines)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Runs the chosen action; returns its exit code."""
    return int(args.act(args))


def _build(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from rosam_core.engines.registry import default_model_path
    from rosam_core.engines.tensorrt_build import BuildOptions, build_engine

    options = BuildOptions(
        args.precision,
        args.batch,
        args.library,
        args.compute_capability,
        args.cache,
        args.timing_cache,
        args.force,
    )
    model = args.model or default_model_path()
    with tqdm(desc="building", unit="step", total=0, disable=not sys.stderr.isatty()) as bar:
        entry, built = build_engine(model, options, bar, lambda text: tqdm.write(text, sys.stderr))
    facts = {**_facts(entry), "built_now": built}
    print(json.dumps(facts, indent=2) if args.json else _line(facts))
    return 0


def _list(args: argparse.Namespace) -> int:
    found = _described(args.cache)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        from rosam_core.engines.engine_cache import cache_folder

        empty = f"no engines in {cache_folder(args.cache)}: `rosam engine build` makes them"
        print("\n".join(map(_line, found)) or empty)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from rosam_core.engines.engine_cache import cache_folder, entries, read_plan

    results = []
    for entry in entries(cache_folder(args.cache)):
        facts = _facts(entry)
        try:
            read_plan(entry)
        except ValueError as error:
            facts["problem"] = str(error)
        results.append(facts)
    if args.model:
        results = _verify_parity(args.model, args.cache, results)
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print("\n".join(map(_line, results)) or "no engines")
    return int(any(facts["problem"] for facts in results))


def _verify_parity(model: Path, cache: Path | None, results: list[dict]) -> list[dict]:
    """Runs a model's engines that run here and puts what was found on their cards."""
    from rosam_core.engines.contract import load_card
    from rosam_core.engines.cuda_device import CudaDevice, GpuError
    from rosam_core.engines.engine_cache import cache_folder, entries, read_plan, set_parity
    from rosam_core.engines.parity import refuse_beyond
    from rosam_core.engines.tensorrt_build import compare
    from rosam_core.engines.tensorrt_engine import rebuild_command, why_not
    from rosam_core.engines.tensorrt_library import load_tensorrt

    card = load_card(model)
    device = CudaDevice()  # says why, if there is none
    device.close()
    by_folder = {entry.folder.name: entry for entry in entries(cache_folder(cache))}
    checked = []
    for facts in results:
        entry = by_folder[facts["key"]]
        if facts["problem"] or not entry.card or entry.card.key.model_sha256 != card.sha256:
            continue
        checked.append(facts)
        try:
            library = load_tensorrt(entry.card.key.library)
        except ValueError as error:
            facts["runs_here"] = str(error)
            continue
        reason = why_not(entry.card.key, library, device.gpu)
        if reason:
            facts["runs_here"] = reason
            continue
        try:
            parity = compare(read_plan(entry), model, card, entry.card.key, library)
            facts["parity"] = parity
            set_parity(entry, parity)  # a bad one, too: it is then refused when it is loaded
            refuse_beyond(parity, entry.card.key.precision)
        except (ValueError, GpuError) as error:
            facts["problem"] = str(error)
    if not checked:
        raise ValueError(f"there is no engine of {model}: {rebuild_command(model)}")
    return checked


def _prune(args: argparse.Namespace) -> int:
    from rosam_core.engines.engine_cache import cache_folder, entries, prune, read_plan

    cache = cache_folder(args.cache)
    useless = []
    for entry, reason, stale in _with_reasons(entries(cache)):
        why = "all" if args.all else entry.problem or (reason if stale else "")
        if not why:
            try:
                read_plan(entry)
            except ValueError as error:
                why = str(error)
        if why:
            useless.append((entry, why))
    facts = {
        "removed": [{"key": e.folder.name, "why": why, "bytes": e.size} for e, why in useless],
        "dry_run": args.dry_run,
    }
    if not args.dry_run:
        prune(cache, [entry for entry, _ in useless])
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        verb = "would remove" if args.dry_run else "removed"
        lines = [
            f"{verb} {e.folder.name} ({e.card.model if e.card else '?'}): {why}"
            for e, why in useless
        ]
        print("\n".join(lines) or "nothing to remove")
    return 0


def _described(cache: Path | None) -> list[dict[str, Any]]:
    from rosam_core.engines.engine_cache import cache_folder, entries

    return [
        {**_facts(entry), "runs_here": reason or ("" if entry.problem else "yes")}
        for entry, reason, _ in _with_reasons(entries(cache_folder(cache)))
    ]


def _with_reasons(found: Sequence[Entry]) -> list[tuple[Entry, str, bool]]:
    """Returns each entry with why it does not run here, or nothing, and whether it never will.

    What was built for another GPU on purpose, or for a library of another environment, may still
    be of use elsewhere; without a GPU nothing is held against an engine.
    """
    from rosam_core.engines.cuda_device import find_gpu
    from rosam_core.engines.tensorrt_engine import why_not
    from rosam_core.engines.tensorrt_library import load_tensorrt

    gpu: Gpu | None = find_gpu() if found else None
    libraries: dict[str, Any] = {}
    answers = []
    for entry in found:
        reason, useless = "", False
        if entry.card is not None and gpu is None:
            reason = "there is no GPU here"
        elif entry.card is not None and gpu is not None:
            key = entry.card.key
            try:
                library = libraries[key.library] = libraries.get(key.library) or load_tensorrt(
                    key.library
                )
                reason = why_not(key, library, gpu)
                useless = bool(reason) and (not library.is_rtx or key.version != library.version)
            except ValueError as error:
                reason = str(error)
        answers.append((entry, reason, useless))
    return answers


def _facts(entry: Entry) -> dict[str, Any]:
    """Returns an entry as JSON values."""
    facts: dict[str, Any] = {"key": entry.folder.name, "problem": entry.problem}
    if entry.card is not None:
        card = dataclasses.asdict(entry.card)
        facts.update({**card.pop("key"), **card, "plan": str(entry.plan)})
    return facts


def _line(facts: dict[str, Any]) -> str:
    """Returns one line about an engine."""
    if "model" not in facts:
        return f"{facts['key']}: {facts['problem']}"
    parity = facts["parity"]
    if parity:
        compared = f"depth within {parity['depth_p99']:.1e} of ONNX Runtime (p99)"
    else:
        compared = "not compared with ONNX Runtime"
    batches = ",".join(map(str, facts["batches"]))
    words = [
        f"{facts['key']} {facts['model']} {facts['width']}x{facts['height']} {facts['precision']}",
        f"batch {batches}, {facts['plan_bytes'] / 1e6:.1f} MB, {facts['library']} "
        f"{facts['version']} for {facts['target']}, {compared}",
    ]
    if facts.get("built_now") is False:
        words.append("it was there already")
    if facts.get("runs_here") not in (None, "", "yes"):
        words.append(f"does not run here: {facts['runs_here']}")
    if facts["problem"]:
        words.append(f"NOT USABLE: {facts['problem']}")
    return "; ".join(words)


def _batches(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 1,6, got {text!r}") from None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(word.strip() for word in text.split(","))
    if not all(len(n.split(".")) == 2 and n.replace(".", "").isdigit() for n in names):
        raise argparse.ArgumentTypeError(f"expected numbers such as 8.6,8.9, got {text!r}")
    return names
