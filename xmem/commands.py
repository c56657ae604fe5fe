"""What the commands of the command line do, once their words are understood."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Generator
from dataclasses import asdict, fields
from pathlib import Path

from tqdm import tqdm

from xmem import checkpoints
from xmem.checkpoints.download import megabytes
from xmem.config import MemoryConfig
from xmem.device import describe_device, precision_name
from xmem.engine.segment import MASKS_NAME, OVERLAY_NAME, FrameResult, segment_video
from xmem.errors import InputError
from xmem.networks.xmem import XMem
from xmem.render.masks import GivenMask, read_mask
from xmem.scoring import evaluation
from xmem.scoring.evaluation import Evaluation, SequenceScore
from xmem.video import VideoInfo, probe

log = logging.getLogger("xmem")

BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}]"


class StopSignals:
    """Ctrl-C and SIGTERM as a note to stop after the present frame, so that files are left whole.

    received: the signal's number, None before. A second signal interrupts at once.
    """

    def __enter__(self) -> StopSignals:
        self.received: int | None = None
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number


def memory_config(args: Namespace) -> MemoryConfig:
    """The memory settings among parsed arguments. Raises InputError for a combination that cannot work."""
    return MemoryConfig(**{setting.name: getattr(args, setting.name) for setting in fields(MemoryConfig)})


def run_segment(args: Namespace) -> int:
    """`segment`: masks and an overlay video of the objects that the given masks show."""
    config, output = memory_config(args), Path(args.output)
    info = probe(args.input)
    given = _given_masks(args.mask, info)
    old = _old_results(output, Path(args.input), args.force)
    model = _model(args)
    for path in old:
        path.unlink()
    results = segment_video(
        args.input,
        {frame: mask.index for frame, mask in given.items()},
        output,
        model=model,
        config=config,
        size=args.size,
    )
    began = time.perf_counter()
    done, stopped_by = _follow(results, info.frame_count)
    seconds = time.perf_counter() - began
    print(f"{done} frames in {seconds:.1f} s ({done / seconds:.2f} frames/s)")
    print(f"{output / OVERLAY_NAME}\n{output / MASKS_NAME}: {done} masks")
    if stopped_by is None:
        return int(any(frame >= done for frame in given))  # a mask for no frame, of which the log has told
    where = f"after {done} of {info.frame_count or 'an unknown number of'} frames"
    print(f"xmem: stopped by {signal.Signals(stopped_by).name} {where}; what is done is kept", file=sys.stderr)
    return 128 + stopped_by


def _follow(results: Generator[FrameResult, None, None], total: int | None) -> tuple[int, int | None]:
    """Run to the end, or to the frame at which a signal comes; return frames done and that signal's number."""
    done = 0
    with StopSignals() as stop, _bar("segmenting", total) as bar:
        try:
            for _ in results:
                done += 1
                bar.update()
                if stop.received:
                    break
        finally:
            results.close()
    return done, stop.received


def _given_masks(texts: list[str], info: VideoInfo) -> dict[int, GivenMask]:
    """Frame -> mask, of arguments "MASK.png" and "FRAME:MASK.png"; says what was found in each."""
    given: dict[int, GivenMask] = {}
    for text in texts:
        numbered = None if Path(text).exists() else re.fullmatch(r"(\d+):(.+)", text)
        frame, path = (int(numbered[1]), numbered[2]) if numbered else (0, text)
        if frame in given:
            raise InputError(f"Two masks are given for frame {frame}: leave one out, or write --mask FRAME:MASK.png.")
        if info.frame_count_exact and frame >= info.frame_count:
            raise InputError(
                f"There is no frame {frame} for {path}: the video's frames are 0 to {info.frame_count - 1}."
            )
        mask = given[frame] = read_mask(path, info.width, info.height)
        count, ids = len(mask.objects), ", ".join(map(str, mask.objects))
        note = f"; {mask.note}" if mask.note else ""
        print(f"{path}: {count} object{'s' if count > 1 else ''} on frame {frame} (id {ids}){note}", flush=True)
    return dict(sorted(given.items()))


def _old_results(output: Path, source: Path, force: bool) -> list[Path]:
    """Files of an earlier run that would mix with this one's.

    Raises InputError where there are some and they may not be replaced, or where the input is among them.
    """
    overlay, masks = output / OVERLAY_NAME, output / MASKS_NAME
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file: choose a folder for --output.")
    if source.resolve() in (overlay.resolve(), masks.resolve()):
        raise InputError(f"The results would replace the input {source}: choose another --output.")
    old = [path for path in (overlay, *sorted(masks.glob("*.png"))) if path.exists()]
    if old and not force:
        raise InputError(
            f"{output} holds the results of an earlier run: choose another --output, or replace them by --force."
        )
    return old


def _model(args: Namespace) -> XMem:
    model = checkpoints.load_model(args.model, args.device, args.precision)
    log.info("%s on %s", args.model, describe_device(model.device))
    return model


def _bar(what: str, total: int | None) -> tqdm:
    quick = sys.stderr.isatty()  # a log file is spared
    return tqdm(
        desc=what, total=total, unit=" frames", bar_format=BAR, mininterval=0.2 if quick else 5.0, file=sys.stderr
    )


def run_evaluate(args: Namespace) -> int:
    """`evaluate`: a table of J, F and J&F in percent, a line per sequence as it is done; or all of it as JSON."""
    config = memory_config(args)
    sequences = evaluation.find_sequences(args.root, args.sequences)
    model = _model(args)
    evaluation.start_memory_count(model.device)
    scores = []
    _say("" if args.json else f"{'sequence':<24} objects  frames      J      F    J&F  frames/s")
    with _bar("evaluating", sum(len(sequence.masks) for sequence in sequences)) as bar:
        for sequence in sequences:
            score = evaluation.score_sequence(sequence, model, config, args.size, on_frame=bar.update)
            scores.append(score)
            _say("" if args.json else _row(score.name, len(score.objects), score.frames, score))
    result = evaluation.Evaluation(tuple(scores), evaluation.peak_memory(model.device))
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


def _as_json(result: Evaluation, args: Namespace, config: MemoryConfig, model: XMem) -> dict:
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


def run_models(args: Namespace) -> int:
    """`models`: the list of checkpoints, or one fetched, or one accepted as it is now."""
    if args.accept:
        checkpoints.accept(args.accept)
        print(f"The file of {args.accept} is taken as it is at its next use.")
    elif args.fetch:
        print(checkpoints.find(args.fetch) or checkpoints.fetch_with_bar(args.fetch))
    else:
        _list_models()
    return 0


def _list_models() -> None:
    print(f"{'name':<16} {'at hand':<8} {'size':>9} {'parameters':>11} {'DAVIS 2017':>11}  licence, description")
    for record in checkpoints.REGISTRY.values():
        path = checkpoints.find(record.name)
        size = path.stat().st_size if path else record.size_bytes
        figure = record.figures.get("DAVIS 2017 val")
        print(
            f"{record.name:<16} {'yes' if path else 'no':<8} {megabytes(size) if size else '-':>9} "
            f"{f'{record.parameters / 1e6:.1f} M' if record.parameters else '-':>11} {figure or '-':>11}  "
            f"{record.licence}; {record.description}"
        )
    for path in checkpoints.own_files():
        print(f"{path.stem:<16} {'yes':<8} {megabytes(path.stat().st_size):>9} {'-':>11} {'-':>11}  your own file")
    print(f"DAVIS 2017: J&F on its validation split, as published. Files are kept in {checkpoints.folder()}")
