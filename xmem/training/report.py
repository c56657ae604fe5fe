"""After a run: curves, failures as pictures, and the exported file with its score.

python -m xmem.training.report RUN --data ROOT --to checkpoints/xmem-lite
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from safetensors import safe_open

from xmem.checkpoints import load_model, read_state
from xmem.engine.propagator import Propagator
from xmem.networks import Network
from xmem.scoring.evaluation import find_sequences
from xmem.scoring.metrics import region_similarity
from xmem.training import yardstick
from xmem.training.footage import read_sequence
from xmem.training.loop import export

TOGETHER = 10  # steps in a line of a joined log
SMOOTHING = 40  # steps in one point of the loss curve
PICTURE_HEIGHT = 160  # pixels, of one frame in a picture of failures
TRUTH, PREDICTED = (255, 255, 255), (255, 60, 60)  # contours, RGB


def read_log(path: Path) -> list[dict]:
    """The records of a run's log, one per step and validation."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def join_logs(paths: Sequence[Path]) -> list[dict]:
    """The records of runs that follow one another, steps counted on, each with the number of its run from 1.

    A log may itself be of several runs, joined before. Up to TOGETHER steps become one record: that of the last, with
    their number as "steps", the sum of their seconds and the mean of the rest that is measured. The shapes of batches
    are left out: they follow from the run's seed.
    """
    joined: list[dict] = []
    for path in paths:
        step, run = (max((record[name] for record in joined), default=0) for name in ("step", "run"))
        pending: list[dict] = []
        for record in read_log(path):
            record.pop("shapes", None)
            record |= {"run": run + record.get("run", 1), "step": step + record["step"]}
            is_step = "loss" in record
            if pending and not (is_step and record["run"] == pending[0]["run"] and _count(pending) < TOGETHER):
                joined.append(_together(pending))
                pending = []
            (pending if is_step else joined).append(record)
        joined += [_together(pending)] if pending else []
    return joined


def _count(records: Sequence[dict]) -> int:
    """Steps that records stand for."""
    return sum(record.get("steps", 1) for record in records)


def _together(records: Sequence[dict]) -> dict:
    """One record for those of several steps."""
    weights = [record.get("steps", 1) for record in records]
    measured = [name for name in ("loss", "norm") if all(name in record for record in records)]
    means = {name: round(float(np.average([r[name] for r in records], weights=weights)), 5) for name in measured}
    seconds = {"seconds": round(sum(r["seconds"] for r in records), 3)} if "seconds" in records[0] else {}
    return records[-1] | {"steps": sum(weights)} | means | seconds


def plot_curves(records: Sequence[dict], picture: Path) -> None:
    """Draw the loss (smoothed) and the held-back J&F over the steps; a dotted line where another run begins.

    Scores at different sizes are not joined: a validation's record may say its "size" in pixels.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    _plot_loss(left, [record for record in records if "loss" in record])
    _plot_scores(right, [record for record in records if "validation" in record])
    starts = {record.get("run", 1): record["step"] for record in reversed(records)}
    for run, start in sorted(starts.items())[1:]:
        for axes in (left, right):
            axes.axvline(start, color="0.6", linewidth=0.8, linestyle=":")
        left.text(start, left.get_ylim()[1], f"run {run} ", color="0.4", fontsize=7, va="top", rotation=90)
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=6)
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)


def _plot_loss(axes: Any, records: Sequence[dict]) -> None:
    step, loss = (np.array([record[name] for record in records], dtype=float) for name in ("step", "loss"))
    axes.plot(step, loss, color="0.8", linewidth=0.5)
    window = min(SMOOTHING // TOGETHER, len(loss))
    axes.plot(step[window - 1 :], np.convolve(loss, np.ones(window) / window, "valid"), color="tab:blue")
    axes.set(xlabel="step", ylabel=f"loss (mean of about {SMOOTHING} steps)", ylim=(0, np.percentile(loss, 99)))


def _plot_scores(axes: Any, records: Sequence[dict]) -> None:
    sizes = sorted({record.get("size") for record in records}, key=str)
    for size, line in zip(sizes, ("-", "--", ":"), strict=False):
        scored = [record for record in records if record.get("size") == size]
        axes.set_prop_cycle(None)  # a sequence has one colour at all sizes
        for name in sorted(scored[-1]["validation"]):
            style = {"color": "black", "linewidth": 2} if name == "mean" else {"linewidth": 1, "alpha": 0.7}
            said = f"{name}, {size} px" if size else name
            label = said if name == "mean" or size == sizes[-1] else None
            points = [record["step"] for record in scored], [record["validation"][name] for record in scored]
            axes.plot(*points, line, marker="o", markersize=4, label=label, **style)
    axes.set(xlabel="step", ylabel="J&F of held-back sequences, %")
    if records:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def worst_frames(model: Network, root: Path, name: str, size: int, count: int = 4) -> np.ndarray:
    """A row of pictures: the frames of a sequence with the lowest J, at least 8 frames apart, in order of time.

    White contour: truth; red tint: prediction. uint8 [PICTURE_HEIGHT, W, 3].
    """
    frames, masks = read_sequence(find_sequences(root, [name])[0])
    engine = Propagator(model, size=size)
    indices = np.stack([engine.step(f, m if i == 0 else None).argmax(0).byte().cpu().numpy()
                        for i, (f, m) in enumerate(zip(frames, masks, strict=True))])  # fmt: skip
    scores = np.array([region_similarity(p > 0, t > 0) for p, t in zip(indices, masks, strict=True)])
    chosen: list[int] = []
    for i in np.argsort(scores):
        if len(chosen) < count and all(abs(i - other) >= 8 for other in chosen):
            chosen.append(int(i))
    pictures = [_picture(frames[i], masks[i] > 0, indices[i] > 0, i, scores[i]) for i in sorted(chosen)]
    return np.concatenate(pictures, axis=1)


def _picture(frame: np.ndarray, truth: np.ndarray, predicted: np.ndarray, index: int, score: float) -> np.ndarray:
    picture: np.ndarray = np.where(predicted[..., None], 0.5 * frame + 0.5 * np.array(PREDICTED), frame).astype(
        np.uint8
    )
    contours, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, TRUTH, 2)
    width = round(frame.shape[1] * PICTURE_HEIGHT / frame.shape[0])
    picture = cv2.resize(picture, (width, PICTURE_HEIGHT), interpolation=cv2.INTER_AREA)
    text = f"frame {index}  J {100 * score:.0f}"
    cv2.putText(picture, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return picture


def main() -> int:
    """Score a run's averaged weights at each size, export them, draw curves and failures."""
    parser = argparse.ArgumentParser(prog="python -m xmem.training.report", description=main.__doc__)
    add = parser.add_argument
    add("run", type=Path, help="folder of the run")
    add("--after", type=Path, nargs="*", default=[], help="logs of the runs that it went on from, in order")
    add("--data", type=Path, required=True, help="folder that holds the yardstick's (see xmem.training.yardstick)")
    add("--to", type=Path, required=True, help="folder for log, scores and pictures; the weights go beside it")
    add("--weights", default="best.safetensors", help="which of the run's files")
    add("--sizes", type=int, nargs="+", default=yardstick.SIZES, help="shorter sides to score at, pixels")
    add("--pictures-at", type=int, default=384, help="one of them, whose worst sequences are drawn")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    model = load_model(args.run / args.weights, "cpu")
    scores = {size: yardstick.score(model, args.data, size) for size in args.sizes}
    for size, parts in scores.items():
        for part, figures in parts.items():
            print(f"{size} px, {part}:", *(f"{name} {value}" for name, value in figures.items()), flush=True)
    (args.to / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    with safe_open(args.run / args.weights, "pt") as file:
        description = file.metadata()
    selecting = next(part.name for part in yardstick.YARDSTICK if part.selects)
    description |= {"score": str(scores[args.pictures_at][selecting]["J&F"]), "score_size": str(args.pictures_at)}
    description |= {"score_on": " ".join(yardstick.selecting())}
    export(read_state(args.run / args.weights), args.to.with_suffix(".safetensors"), description)
    records = join_logs([*args.after, args.run / "log.jsonl"])
    (args.to / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    plot_curves(records, args.to / "curves.png")
    draw_failures(model, args.data, scores[args.pictures_at], args.pictures_at, args.to / "failures.jpg")
    return 0


def draw_failures(
    model: Network, root: Path, scores: dict[str, dict[str, float]], size: int, path: Path, count: int = 8
) -> None:
    """The worst frames of the `count` sequences with the lowest J&F, a row each, as one picture; scores: of a size."""
    ranked = sorted(
        (scores[part.name][name], part.folder, name) for part in yardstick.YARDSTICK for name in part.sequences
    )
    rows = [worst_frames(model, root / folder, name, size) for _, folder, name in ranked[:count]]
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    raise SystemExit(main())
