"""Which checkpoints exist: what is known of each without opening it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from xmem.errors import InputError

EMBEDDED = "xmem-lite"
CLICK = "xmem-click"
WORDS = "clipseg"
RELEASES = "https://github.com/hkchengrex/XMem/releases/download/v1.0/"
SOURCE = "https://github.com/hkchengrex/XMem"
PAPER = "https://arxiv.org/abs/2207.07115"
DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint without opening it.

    name: by which users choose it; file_name: in the checkpoint folder.
    url: where it is fetched from; None for the embedded one, which comes with the project.
    files: of a checkpoint that is a folder, which `file_name` names then, as `url` the folder that they are fetched
        from; the weights are the last.
    size_bytes: of the file, None where not known for certain (of a folder: of its weights, to the megabyte);
        parameters: weights that training learned.
    family, variant: of its network, as `xmem.families.FAMILIES` and `Network.variant` name them.
    md5: of the file, where its authors state it.
    figures: J&F (YouTube-VOS: its own mean G) by data set, in percent; published, but for HELD_BACK, which is measured
        by `xmem evaluate` on five clips of another split (see the model card) and cannot be put beside the others.
    """

    name: str
    file_name: str
    url: str | None
    size_bytes: int | None
    parameters: int | None
    variant: str
    licence: str
    source: str
    paper: str
    description: str
    figures: Mapping[str, float] = field(default_factory=dict)
    family: str = "xmem"
    md5: str | None = None
    files: tuple[str, ...] = ()


def _released(
    name: str, description: str, figures: Mapping[str, float], parameters: int = 62_185_224, size: int | None = None
) -> Checkpoint:
    file_name = f"{name}.pth"
    return Checkpoint(
        name, file_name, RELEASES + file_name, size, parameters, "resnet", "MIT", SOURCE, PAPER, description, figures
    )


def _stcn(
    name: str, file_name: str, drive_id: str, description: str, figures: Mapping[str, float] | None = None
) -> Checkpoint:
    return Checkpoint(
        name=name,
        file_name=file_name,
        url=DRIVE + drive_id,
        size_bytes=None,
        parameters=54_434_180,
        variant="",
        licence="MIT for the code; none is stated for the weights",
        source="https://github.com/hkchengrex/STCN",
        paper="https://arxiv.org/abs/2106.05210",
        description=description,
        figures=figures or {},
        family="stcn",
    )


HELD_BACK = "five held-back DAVIS 2016 training clips, 384 px"
D16, D17, YV18, LONG = "DAVIS 2016 val", "DAVIS 2017 val", "YouTube-VOS 2018 val", "Long-time Video"
REGISTRY: dict[str, Checkpoint] = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            EMBEDDED,
            "xmem-lite.safetensors",
            None,
            None,
            2_575_014,
            "lite",
            "see its model card: non-commercial use",
            "this project",
            PAPER,
            "small, comes with the project; quick on a CPU, and less accurate",
            {HELD_BACK: 85.3},
        ),
        _released(
            "XMem",
            "the paper's default: still images, then DAVIS and YouTube-VOS",
            {D16: 91.5, D17: 86.2, YV18: 85.7, LONG: 89.8},
            size=249_026_057,
        ),
        _released(
            "XMem-s012", "trained on the synthetic BL30K as well: the most accurate", {D16: 92.0, D17: 87.7, YV18: 86.1}
        ),
        _released("XMem-s2", "trained on videos only, for reference", {D16: 90.8, D17: 84.5, YV18: 84.3}),
        _released(
            "XMem-no-sensory",
            "without sensory memory, for frames that do not follow each other in space",
            {D17: 85.1, YV18: 84.4},
            parameters=59_783_560,
        ),
        _stcn(
            "STCN",
            "stcn.pth",
            "1mRrE0uCI2ktdWlUgapJI_KmgeIiF2eOm",
            "STCN, which XMem came from: reads every memory frame; trained on stills, BL30K, DAVIS and YouTube-VOS",
            {D16: 91.7, D17: 85.3, YV18: 84.3},
        ),
        _stcn(
            "STCN-s03",
            "stcn-s03.pth",
            "1JllXPJZola0G-g1aUQfXe9nLMBioj-aH",
            "STCN trained on stills, DAVIS and YouTube-VOS, without the synthetic BL30K",
        ),
        Checkpoint(
            name="STM",
            file_name="STM_weights.pth",
            url="https://www.dropbox.com/s/mtfxdr93xc3q55i/STM_weights.pth?dl=1",
            size_bytes=None,
            parameters=38_925_570,
            variant="",
            licence="CC BY-NC-SA 4.0: non-commercial use",
            source="https://github.com/seoungwugoh/STM",
            paper="https://arxiv.org/abs/1904.00607",
            description="STM, the first of the line: always reads the frame before; objects cannot join later",
            figures={D16: 89.3, D17: 81.8, YV18: 79.4},
            family="stm",
        ),
        Checkpoint(
            "Cutie-base-mega",
            "cutie-base-mega.pth",
            "https://github.com/hkchengrex/Cutie/releases/download/v1.0/cutie-base-mega.pth",
            None,
            35_024_186,
            "resnet50",
            "MIT",
            "https://github.com/hkchengrex/Cutie",
            "https://arxiv.org/abs/2310.12982",
            "Cutie, XMem's successor: objects are remembered as objects, too; trained on several data sets",
            family="cutie",
            md5="a6071de6136982e396851903ab4c083a",
        ),
        Checkpoint(
            name="R50-AOTL",
            file_name="R50-AOTL.pth",
            url=DRIVE + "1qJDYn3Ibpquu4ffYoQmVjg1YCbr2JQep",
            size_bytes=None,
            parameters=14_940_515,
            variant="",
            licence="BSD 3-Clause for the code; none is stated for the weights",
            source="https://github.com/yoxu515/aot-benchmark",
            paper="https://arxiv.org/abs/2106.02638",
            description="AOT: up to ten objects at the price of one; its memory grows with the video",
            figures={D16: 91.7, D17: 85.2, YV18: 84.6},
            family="aot",
        ),
    )
}

# Networks that follow nothing: they make a mask from clicks. No family, and never among those that track.
CLICKERS: dict[str, Checkpoint] = {
    CLICK: Checkpoint(
        CLICK,
        "xmem-click.safetensors",
        None,
        None,
        2_601_490,
        "",
        "see its model card: non-commercial use",
        "this project",
        "",
        "makes a mask from clicks on an image; comes with the project, and does not track",
        family="click",
    )
}

SAM2, CLIPSEG = "sam2", "clipseg"
_WEIGHTS = "model.safetensors"


def _helper(
    name: str,
    repository: str,
    revision: str,
    family: str,
    files: tuple[str, ...],
    megabytes: int,
    parameters: int,
    licence: str,
    paper: str,
    description: str,
) -> Checkpoint:
    """A repository of the Hugging Face Hub at one commit, which cannot change."""
    return Checkpoint(
        name=name,
        file_name=name,
        url=f"{HUB}{repository}/resolve/{revision}/",
        size_bytes=megabytes * 1_000_000,
        parameters=parameters,
        variant="",
        licence=licence,
        source=HUB + repository,
        paper=paper,
        description=description,
        family=family,
        files=("config.json", "preprocessor_config.json", *files, _WEIGHTS),
    )


def _sam2(size: str, revision: str, megabytes: int, parameters: int) -> Checkpoint:
    return _helper(
        f"sam2.1-{size}",
        f"facebook/sam2.1-hiera-{size}",
        revision,
        SAM2,
        ("processor_config.json",),
        megabytes,
        parameters,
        "Apache-2.0",
        "https://arxiv.org/abs/2408.00714",
        "SAM 2.1: a mask from clicks or a box, in xmem-click's place; needs the extra 'helpers', and does not track",
    )


# Networks of the library `transformers`, of the extra "helpers": they help with the first mask, and nothing needs them.
HELPERS: dict[str, Checkpoint] = {
    record.name: record
    for record in (
        _sam2("tiny", "de431c4043854a71d8101e17995dfe596bf101a5", 156, 38_962_498),
        _sam2("small", "ee5bba1d82bb8749febdf90f45e84b687142ba03", 184, 46_060_354),
        _helper(
            WORDS,
            "CIDAS/clipseg-rd64-refined",
            "999e0328d9e10b484360c477313983f9afdd7050",
            CLIPSEG,
            ("tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"),
            603,
            150_747_746,
            "Apache-2.0 by its page on the Hub; its authors' repository licenses the code alone (MIT)",
            "https://arxiv.org/abs/2112.10003",
            "CLIPSeg: finds what English words name, for a first mask; needs the extra 'helpers', and does not track",
        ),
    )
}


def record_of(name: str) -> Checkpoint | None:
    """What is known of a name, of whatever kind."""
    return REGISTRY.get(name) or CLICKERS.get(name) or HELPERS.get(name)


def default_model() -> str:
    """The checkpoint to use where the user chose none: XMEM_MODEL, or the embedded one."""
    return os.environ.get("XMEM_MODEL") or EMBEDDED


def comes_along(name: str) -> bool:
    """Whether a name stands for a network that the project brings with it."""
    return (name in REGISTRY and REGISTRY[name].url is None) or name in CLICKERS


def unknown(name: str, among: Collection[str] = REGISTRY.keys()) -> InputError:
    close = difflib.get_close_matches(name, among, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(among)}, or the path of a file."
    return InputError(f"There is no checkpoint '{name}': {hint}")
