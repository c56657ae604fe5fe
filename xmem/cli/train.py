"""`python -m xmem train`: arguments and their meaning."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from xmem.checkpoints import load_model, read_state
from xmem.device import select_device
from xmem.errors import InputError
from xmem.networks.click import ClickNet
from xmem.networks.xmem import XMem
from xmem.scoring.evaluation import evaluate, find_sequences
from xmem.training import yardstick
from xmem.training.clicks import HELD_BACK_SETS, ClickStills, ClickTrainer, judge, load_imagenet
from xmem.training.clips import ClipSource
from xmem.training.footage import Cutouts, Footage, Stills
from xmem.training.initial import load_lite0, load_resnet, soften_reading
from xmem.training.loop import RunSettings, Trainer
from xmem.training.recipe import RECIPES, REFINED, TUNED, Recipe

log = logging.getLogger("xmem")

CLICK = "xmem-click"

HELP = DESCRIPTION = "train a network like xmem-lite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the `train` command."""
    add = parser.add_argument
    add("--model", default="xmem-lite", choices=sorted(RECIPES), help="which network to train, by its recipe")
    further = parser.add_mutually_exclusive_group()
    further.add_argument(
        "--refine", action="store_true", help="the recipe of a second run, from the weights of the first (--init)"
    )
    further.add_argument(
        "--tune", action="store_true", help="the recipe of a later run: stills too (--stills), and harder clips"
    )
    add("--data", type=Path, nargs="+", required=True, help="folders in the DAVIS layout")
    add("--stills", type=Path, nargs="*", default=[], help="folders of single images with masks, in the same layout")
    add("--cutouts", type=Path, nargs="*", default=[], help="folders of pictures of objects with alpha, also animated")
    held = "sequences never trained on (default: all of the yardstick, see xmem.training.yardstick)"
    add("--hold-back", nargs="*", default=yardstick.held_back(), metavar="NAME", help=held)
    select = "sequences of the first data folder that choose the best weights (default: the yardstick's that it holds)"
    add("--select-by", nargs="*", metavar="NAME", help=select)
    add("--out", type=Path, default=Path("runs/train"), help="folder of checkpoints and log; a run in it is resumed")
    add("--cache", type=Path, help="folder for decoded frames (default: OUT/cache)")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="wall-clock length; the schedule follows the clock")
    length.add_argument("--steps", type=int, help="length in steps; resumed, it repeats an uninterrupted run exactly")
    start = "weights of the same network, or ImageNet weights: EfficientNet-lite0 (xmem-lite), ResNet-50 and -18 (XMem)"
    add("--init", type=Path, nargs="*", default=[], help=start)
    add(
        "--soften",
        action="store_true",
        help="scale down --init's keys, shrinkage and selection, where reading is stuck",
    )
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes that make clips")
    add("--batch-scale", type=float, default=1.0, help="batch size relative to the recipe's")
    add("--real-share", type=float, help="share of clips on real footage (0: composites only)")
    add("--side", type=int, default=384, help="shorter side of cached frames, pixels")
    add("--validate-minutes", type=float, default=15.0, help="minutes between validations")
    add("--validate-size", type=int, default=240, help="shorter side for validation, pixels")
    add("--device", default="auto", help="auto, cpu, cuda or mps")


def run(args: argparse.Namespace) -> int:
    """Train as the arguments say; 0 when the run is complete. Raises InputError for data that cannot be used."""
    logging.getLogger("xmem").setLevel(logging.INFO)
    if args.model == CLICK:
        return run_clicks(args)
    device = select_device(args.device)
    recipe = choose_recipe(args.model, args.refine, args.tune)
    recipe = replace(recipe, batch_pixels=round(recipe.batch_pixels * args.batch_scale))
    if args.real_share is not None:
        recipe = replace(recipe, real_share=args.real_share)
    source = clip_source(args, recipe, Stills)
    judges = choose_judges(args.data[0], args.select_by)
    settings = RunSettings(
        args.out, steps=args.steps, minutes=args.minutes, seed=args.seed, workers=args.workers,
        validate_minutes=args.validate_minutes, validate_size=args.validate_size,
    )  # fmt: skip
    torch.manual_seed(args.seed)
    model = XMem(recipe.sizes)
    for path in args.init:
        initialise(model, path)
    if args.soften:
        soften_reading(model)

    def validate(state: dict[str, Tensor]) -> dict[str, float]:
        return held_back_scores(state, args.data[0], judges, args.validate_size, device)

    trainer = Trainer(model, recipe, source, settings, device, validate if judges else None)
    trainer.resume()
    trainer.run()
    log.info("trained %d steps; weights in %s", trainer.step, args.out)
    return 0


def run_clicks(args: argparse.Namespace) -> int:
    """Train the click network."""
    device = select_device(args.device)
    recipe = choose_recipe(args.model, args.refine, args.tune)
    recipe = replace(recipe, batch_pixels=round(recipe.batch_pixels * args.batch_scale))
    source = clip_source(args, recipe, ClickStills)
    settings = RunSettings(
        args.out, steps=args.steps, minutes=args.minutes, seed=args.seed, workers=args.workers,
        validate_minutes=args.validate_minutes,
    )  # fmt: skip
    torch.manual_seed(args.seed)
    model = ClickNet()
    for path in args.init:
        state = read_state(path)
        load_imagenet(model, state) if "_conv_stem.weight" in state else model.load_state_dict(state)
    judges = [root for root in args.stills if root.name in HELD_BACK_SETS]
    validate = (lambda state: judge(state, judges)) if judges else None
    trainer = ClickTrainer(model, recipe, source, settings, device, validate)
    trainer.resume()
    trainer.run()
    log.info("trained %d steps; weights in %s", trainer.step, args.out)
    return 0


def clip_source(args: argparse.Namespace, recipe: Recipe, kind: type[Stills]) -> ClipSource:
    """What the clips of a run are made of, decoded into its cache. kind: of stills."""
    cache = args.cache or args.out / "cache"
    footage = Footage.build(args.data, cache, args.side, args.hold_back)
    stills, cutouts = kind.build(args.stills, cache, args.side), Cutouts.build(args.cutouts, cache)
    return ClipSource(
        footage, cutouts, recipe.real_share, stills, recipe.still_share, recipe.trouble, recipe.thin_share
    )


def choose_recipe(model: str, refine: bool = False, tune: bool = False) -> Recipe:
    """The recipe of a network's first, second (refine) or later run (tune). Raises InputError where it has none."""
    recipes = TUNED if tune else REFINED if refine else RECIPES
    if model not in recipes:
        raise InputError(f"{model} has no recipe for a further run: leave out {'--tune' if tune else '--refine'}.")
    return recipes[model]


def choose_judges(root: Path, names: Sequence[str] | None) -> tuple[str, ...]:
    """The sequences of `root` that choose the best weights: those named, or the yardstick's that are there.

    Raises InputError where a named one is missing.
    """
    wanted = yardstick.selecting() if names is None else names
    present = [sequence.name for sequence in find_sequences(root, names)]
    return tuple(name for name in wanted if name in present)


def held_back_scores(
    state: dict[str, Tensor], root: Path, names: Sequence[str], size: int, device: torch.device
) -> dict[str, float]:
    """J&F in percent of each sequence and their mean, of a network given as a state dict.

    root: a folder in the DAVIS layout. size: shorter side at which the network runs, pixels.
    """
    scores = evaluate(root, load_model(state, device), size=size, sequences=names)
    return {"mean": round(100 * scores.jf, 2)} | {score.name: round(100 * score.jf, 2) for score in scores.sequences}


def initialise(model: XMem, path: Path) -> None:
    """Start from weights of the same network, or from ImageNet weights of an encoder, whichever the file holds.

    Raises InputError where the file fits neither.
    """
    state = read_state(path)
    is_lite = model.sizes.encoder == "lite"
    if is_lite and "_conv_stem.weight" in state:
        load_lite0(model, state)
    elif not is_lite and "layer1.0.conv1.weight" in state:
        load_resnet(model, state)
    else:
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{path} does not hold weights for this network: choose another --init.") from error
