"""The arms of the ablation: their settings, data and scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.device import choose_device
from common.files import appearing, save_image, write_text
from common.image_grid import MARGIN, captioned_grid
from common.paths import TINY_DIR
from common.settings import check_ranges, setting
from common.stop_signals import StopSignals
from dataset.captioned_folder import read_dataset
from dataset.images import open_image
from dataset.rows import Row, dataset_hash
from generation.drawing import draw_to_folder
from generation.request import read_requests
from generation.settings import GenerateConfig
from models.pipelines import load_model
from models.tiny import save_untrained
from scoring.ablation_table import table
from scoring.benchmark import Benchmark, prepare
from scoring.config import EvaluateConfig
from scoring.evaluation import Sampler, score
from scoring.report import Report, as_json_text, shown_settings
from trainer.base_recipe import BaseConfig
from trainer.config import EXAMPLE_PROMPTS, TrainConfig, result_settings
from trainer.finished import is_finished
from trainer.run import train
from trainer.run_folder import RunFolder

JOINED = "joined"  # our column: all meanings of a row in one caption
MIRRORED, PLAIN = Path("data/mirrored"), Path("data/plain")  # our dataset folders, below the output folder
TITLE_SIZE, TITLE_HEIGHT = 17, 26  # px, of an arm's name above its row of images
# What the arms share: the embedded base's recipe, with a rate that falls and an average that follows in so few steps.
RECIPE = replace(BaseConfig().words, component_caption_fraction=0.0, lr_scheduler="cosine", lr_cooldown_steps=0,
                 ema_decay=0.99, validation_steps=0, checkpointing_steps=250, checkpoints_total_limit=1,
                 report_to="none")
# What each arm changes in the settings of the one before; the first is the first exercise's recipe.
CHANGES: dict[str, dict[str, Any]] = {
    "first exercise": {"train_data_dir": MIRRORED, "caption_column": JOINED, "composed_fraction": 0.0,
                       "stroke_tag_fraction": 0.0, "frequent_kanji_weight": 1.0},
    "no mirroring": {"train_data_dir": PLAIN},
    "one meaning at a time": {"caption_column": "captions"},
    "composed characters": {"composed_fraction": RECIPE.composed_fraction},
    "stroke budget": {"stroke_tag_fraction": RECIPE.stroke_tag_fraction,
                      "frequent_kanji_weight": RECIPE.frequent_kanji_weight},
}


@dataclass(frozen=True)
class AblationConfig:
    """Settings of the comparison; all that the arms do not differ in."""

    train_data_dir: Path = Path("data/kanji")
    """The dataset folder of dataExtraction/main.py, with composed characters."""
    output_dir: Path = Path("runs/ablation")
    """The arms' run folders, the table and the images. The same command again resumes where it stopped."""
    cache_dir: Path = Path("runs/cache")
    """Where encoded images and captions are kept; shared between runs."""
    steps: int = setting(1000, at_least=1)
    """Updates of each arm; the rate rises over the first tenth."""
    train_batch_size: int = setting(32, at_least=1)
    """Images an update."""
    learning_rate: float = setting(5e-4, above=0)
    """The peak."""
    pairs: int = setting(100, at_least=2)
    """Two-concept prompts that an arm is scored on, at least 2: one alone has no shuffled baseline. Two seeds each."""
    heldout: int = setting(200, at_least=2)
    """Meanings of held-out kanji, at most. One seed each."""
    wild: int = setting(40, at_least=2)
    """Prompts of the modern world. Four seeds each."""
    budget: int = setting(100, at_least=1)
    """Known meanings with a number of strokes, for the arm that was taught stroke counts. One seed each."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train and sample; `auto` takes a CUDA GPU where there is one."""
    seed: int = setting(0, at_least=0)
    """Seed of the untrained weights, of all that is random in training, of the prompts and of the samples."""

    def __post_init__(self) -> None:
        """Refuse values outside their ranges. Raises ValueError naming the flag."""
        check_ranges(self)


def compare(config: AblationConfig, stop: StopSignals) -> str:
    """Train and score what is not finished, and write the comparison; returns the table in Markdown."""
    arms, reports = arm_settings(config), {}
    with closing(RunFolder(config.output_dir)):  # one comparison at a time
        benchmark = prepare_arms(arms, config)
        for number, (name, arm) in enumerate(arms.items(), 1):
            print(f"\n== arm {number} of {len(arms)}: {name}", flush=True)
            train(arm, stop)
            reports[name] = kept_report(arm, config) or score_arm(arm, config, benchmark)
        return write_comparison(config, arms, reports)


def prepare_arms(arms: Mapping[str, TrainConfig], config: AblationConfig) -> Benchmark | None:
    """What the arms still need: their data and base, and what they are scored with; None where all are scored.

    Before hours of training, since it names what is missing: raises DatasetError or JudgeError.
    """
    benchmark, unfinished = None, [arm for arm in arms.values() if not is_finished(arm.output_dir, arm)]
    if unfinished or not all(kept_report(arm, config) for arm in arms.values()):
        benchmark = prepare(benchmark_settings(config))
    if unfinished:
        lay_untrained_base(base_folder(config), config.seed)
        lay_datasets(config.train_data_dir, config.output_dir)
    return benchmark


def write_comparison(config: AblationConfig, arms: Mapping[str, TrainConfig], reports: Mapping[str, Report]) -> str:
    """Write ablation.json, ablation.md and ablation.png; returns the table in Markdown. Raises OSError."""
    text = table(reports)
    results = {"settings": shown_settings(config),
               "arms": {name: {"settings": shown_settings(arms[name]), "report": report.to_json()}
                        for name, report in reports.items()}}
    write_text(config.output_dir / "ablation.json", as_json_text(results))
    write_text(config.output_dir / "ablation.md", page(config, text))
    save_image(image_grid(arms, config), config.output_dir / "ablation.png")
    return text


def arm_settings(config: AblationConfig) -> dict[str, TrainConfig]:
    """The trainer's settings of each arm, in order: each those of the one before with its own changes."""
    arm = replace(RECIPE, pretrained_model_name_or_path=str(base_folder(config)), cache_dir=config.cache_dir,
                  max_train_steps=config.steps, lr_warmup_steps=config.steps // 10, device=config.device,
                  train_batch_size=config.train_batch_size, learning_rate=config.learning_rate, seed=config.seed)
    arms = {}
    for number, (name, changes) in enumerate(CHANGES.items(), 1):
        values = {key: config.output_dir / value if key == "train_data_dir" else value
                  for key, value in changes.items()}
        arm = replace(arm, output_dir=config.output_dir / f"{number}-{name.replace(' ', '-')}", **values)
        arms[name] = arm
    return arms


def base_folder(config: AblationConfig) -> Path:
    """Where the untrained base lies that all arms begin from."""
    return config.output_dir / f"base-seed{config.seed}"


def lay_untrained_base(folder: Path, seed: int) -> None:
    """The embedded base with its own autoencoder and an untrained UNet, whole or not at all; kept where it is there."""
    if folder.is_dir():
        return
    with appearing(folder) as building:
        shutil.copytree(TINY_DIR / "vae", building / "vae")
        save_untrained(building, seed)


def lay_datasets(source: Path, output_dir: Path) -> None:
    """The two dataset folders that the arms train on, both with the column JOINED; kept where they are of this source.

    PLAIN has the rows of the source; MIRRORED its real characters, each with its mirror image. Raises DatasetError.
    """
    rows = read_dataset(source)
    origin = json.dumps({"dataset_sha256": dataset_hash(rows)}) + "\n"
    for folder, mirrored in ((output_dir / MIRRORED, True), (output_dir / PLAIN, False)):
        mark = folder / "source.json"
        if mark.is_file() and mark.read_text(encoding="utf8") == origin:
            continue
        with appearing(folder) as building:
            _lay_rows(rows, building / "train", mirrored)
            (building / mark.name).write_text(origin, encoding="utf8")


def benchmark_settings(config: AblationConfig, arm: TrainConfig | None = None) -> EvaluateConfig:
    """How an arm is scored; without one, all sets that any arm is scored on."""
    taught = arm is None or arm.stroke_tag_fraction > 0.0
    return EvaluateConfig(
        model="" if arm is None else str(arm.output_dir), train_data_dir=config.train_data_dir, known=0,
        heldout=config.heldout, pairs=config.pairs, wild=config.wild, budget=config.budget if taught else 0, plans=0,
        plan="off", guess=False, device=config.device, seed=config.seed)


def score_arm(arm: TrainConfig, config: AblationConfig, benchmark: Benchmark) -> Report:
    """Sample the example prompts and score a trained arm; the report is kept in its run folder."""
    draw_to_folder(_examples(arm, config))
    settings = benchmark_settings(config, arm)
    sampler = Sampler(load_model(settings.model), choose_device(settings.device), settings)
    prompts = {name: of_set for name, of_set in benchmark.prompts.items() if getattr(settings, name)}
    report, _ = score(sampler, replace(benchmark, prompts=prompts))
    write_text(arm.output_dir / "score.json", as_json_text({**_provenance(arm, config), "report": report.to_json()}))
    return report


def kept_report(arm: TrainConfig, config: AblationConfig) -> Report | None:
    """The report of an arm that was trained and scored with these very settings, its examples there."""
    try:
        kept = json.loads((arm.output_dir / "score.json").read_text(encoding="utf8"))
        report = Report.from_json(kept.pop("report"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    same = kept == _provenance(arm, config)
    return report if same and all(path.is_file() for path in _example_files(arm, config)) else None


def page(config: AblationConfig, text: str) -> str:
    """ablation.md: how the comparison was made, the table and the images."""
    return (f"# The first exercise's recipe, mended one change at a time\n\n"
            f"The embedded base's UNet, trained from the same untrained weights for {config.steps} steps of "
            f"{config.train_batch_size} images in each arm. An arm has all changes of those above it.\n\n"
            f"```\npython training/ablation.py --steps {config.steps} --train_batch_size {config.train_batch_size} "
            f"--learning_rate {config.learning_rate:g} --seed {config.seed}\n```\n\n{text}\n"
            f"![the same prompts and seeds by every arm](ablation.png)\n")


def image_grid(arms: Mapping[str, TrainConfig], config: AblationConfig) -> Image.Image:
    """A titled row for each arm: the same prompts from the same noise."""
    rows = []
    for arm in arms.values():
        images = []
        for path in _example_files(arm, config):
            with Image.open(path) as image:
                images.append(image.convert("L"))
        rows.append(captioned_grid(images, EXAMPLE_PROMPTS, columns=len(EXAMPLE_PROMPTS)))
    width, height = rows[0].width, rows[0].height + TITLE_HEIGHT
    sheet = Image.new("L", (width, height * len(rows)), "white")
    ink, font = ImageDraw.Draw(sheet), ImageFont.load_default(TITLE_SIZE)
    for index, (name, row) in enumerate(zip(arms, rows, strict=True)):
        ink.text((MARGIN, index * height + 6), f"{index + 1} {name}", fill="black", font=font)
        sheet.paste(row, (0, index * height + TITLE_HEIGHT))
    return sheet


def _lay_rows(rows: Sequence[Row], folder: Path, mirrored: bool) -> None:
    """Lay images and metadata of a split; with `mirrored`, those of the real characters and of their mirror images.

    Images are hard links where the file system has them: a dataset folder is replaced whole, never written into.
    """
    folder.mkdir(parents=True)
    lines = []
    for row in rows:
        if mirrored and row.is_composed:
            continue
        entry = {**row.metadata, "captions": list(row.captions), JOINED: ", ".join(row.captions)}
        name = row.path.name
        _link(row.path, folder / name)
        lines.append({"file_name": name, **entry})
        if mirrored:
            ImageOps.mirror(open_image(row)).save(folder / f"mirrored-{name}")
            lines.append({"file_name": f"mirrored-{name}", **entry})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf8")


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _examples(arm: TrainConfig, config: AblationConfig) -> GenerateConfig:
    return GenerateConfig(prompts=EXAMPLE_PROMPTS, model=str(arm.output_dir), output=arm.output_dir / "examples",
                          seed=config.seed, device=config.device, plan="off")


def _example_files(arm: TrainConfig, config: AblationConfig) -> list[Path]:
    examples = _examples(arm, config)
    return [examples.output / f"{request.stem}.png" for request in read_requests(examples)]


def _provenance(arm: TrainConfig, config: AblationConfig) -> dict[str, Any]:
    """What score.json says of how an arm was trained and scored."""
    settings = asdict(benchmark_settings(config, arm))
    return json.loads(json.dumps({"training": result_settings(arm), "benchmark": settings}, default=str))
