"""`evaluate`: a checkpoint is scored on sequences with known masks."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from xmem.checkpoints.download import megabytes
from xmem.cli.common import add_engine, load, memory_config, progress_bar
from xmem.device import peak_memory, precision_name, start_memory_count
from xmem.networks import Network
from xmem.scoring import evaluation
from xmem.scoring.evaluation import Evaluation, SequenceScore

HELP = "score a checkpoint on sequences with known masks"
DESCRIPTION = (
    "Score the tracking from each first mask: J, F and J&F in percent as DAVIS defines them, first and "
    "last frame left out; frames per second of the engine; peak memory."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root",
        metavar="ROOT",
        help="folder with frames/SEQUENCE/ and masks/SEQUENCE/, or with JPEGImages/480p/ and Annotations/480p/",
    )
    parser.add_argument("--sequences", metavar="NAME", nargs="+", help="only these sequences")
    parser.add_argument("--json", action="store_true", help="write the scores as JSON instead of a table")
    add_engine(parser)


def run(args: argparse.Namespace) -> int:
    """`evaluate`: a table of J, F and J&F in percent, a line per sequence as it is done; or all of it as JSON."""
    sequences = evaluation.find_sequences(args.root, args.sequences)
    model = load(args)
    config = memory_config(args, model)
    start_memory_count(model.device)
    scores = []
    _say("" if args.json else f"{'sequence':<24} objects  frames      J      F    J&F  frames/s")
    with progress_bar("evaluating", sum(len(sequence.masks) for sequence in sequences)) as bar:
        for sequence in sequences:
            score = evaluation.score_sequence(sequence, model, config, args.size, on_frame=bar.update)
            scores.append(score)
            _say("" if args.json else _row(score.name, len(score.objects), score.frames, score))
    result = evaluation.Evaluation(tuple(scores), peak_memory(model.device))
    if args.json:
        print(json.dumps(_as_json(result, args, config, model), indent=2))
    else:
        print(_row(f"all {len(scores)}", len(result.objects), sum(s.frames for s in scores), result))
        kind = "allocated on the GPU" if model.device.type == "cuda" else "resident"
        print(f"peak memory: {megabytes(result.peak_memory_bytes)} {kind}" if result.peak_memory_bytes else "")
    return 0


def _say(line: str) -> None:
    """A line on standard output that does not tear the progress bar apart."""
    if line:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def _row(name: str, objects: int, frames: int, score: SequenceScore | Evaluation) -> str:
    j, f, jf = (f"{100 * value:6.1f}" for value in (score.j, score.f, score.jf))
    return f"{name:<24} {objects:7} {frames:7} {j} {f} {jf} {score.fps:9.2f}"


def _as_json(result: Evaluation, args: argparse.Namespace, config: Any, model: Network) -> dict:
    """Scores from 0 to 1, unrounded, with the settings that led to them."""

    def means(score: SequenceScore | Evaluation) -> dict:
        return {"J": score.j, "F": score.f, "J&F": score.jf, "frames_per_second": score.fps}

    return {
        "model": args.model,
        "size": args.size,
        "precision": precision_name(model.dtype),
        "memory": asdict(config),
        "overall": means(result) | {"peak_memory_bytes": result.peak_memory_bytes},
        "sequences": {
            score.name: means(score)
            | {
                "frames": score.frames,
                "scored_frames": score.scored_frames,
                "objects": {str(part.id): {"J": part.j, "F": part.f} for part in score.objects},
            }
            for score in result.sequences
        },
    }
