"""The commands as a user gives them, with a handful of steps: on a few real kanji, and on icons that we draw."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import train_base
from icon_fixtures import save_icons

ROOT = Path(__file__).resolve().parents[2]
TRAINER_FLAGS = ("--train_batch_size", "4", "--max_train_steps", "3", "--checkpointing_steps", "2",
                 "--validation_steps", "0", "--num_inference_steps", "2", "--lr_warmup_steps", "1")

pytestmark = pytest.mark.slow


def run(*arguments: object) -> subprocess.CompletedProcess:
    """Run one of the project's commands; what it printed is shown where it fails."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def kanji(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "kanji"
    run("dataExtraction/main.py", "--output", folder, "--limit", 60, "--compose", 20)
    return folder


def test_xml_becomes_captioned_pictures_that_datasets_opens(kanji):
    import datasets

    loaded = datasets.load_dataset("imagefolder", data_dir=str(kanji), cache_dir=str(kanji.parent / "cache"))
    row = loaded["train"][0]
    assert row["image"].size == (128, 128)
    assert row["text"] in row["captions"]
    assert sum(loaded["train"][i]["kind"] == "real" for i in range(len(loaded["train"]))) + len(loaded["test"]) == 60


def test_the_embedded_base_is_fine_tuned_and_drawn_from(kanji, tmp_path):
    training = ("training/train_text_to_image.py", "--preset", "tiny", "--train_data_dir", kanji, "--output_dir",
                tmp_path / "run", "--cache_dir", tmp_path / "cache", *TRAINER_FLAGS)
    run(*training)
    assert (tmp_path / "run/pipeline/model_index.json").exists()

    run("training/generate.py", "Buzz Aldrin", "Full Moon", "--model", tmp_path / "run", "--output", tmp_path / "drawn",
        "--steps", 2)
    facts = json.loads((tmp_path / "drawn/buzz-aldrin-0.json").read_text(encoding="utf8"))
    assert (facts["words"], facts["seed"]) == ("Buzz Aldrin", 0)
    assert Image.open(tmp_path / "drawn/full-moon-0.png").size == (128, 128)
    assert (tmp_path / "drawn/collated_examples.png").exists()


def test_a_base_is_trained_from_nothing_and_is_itself_a_base(kanji, tmp_path, capsys):
    phases = ("words", "components", "reward")
    flags = [f"--{phase}.{flag[2:]}" if isinstance(flag, str) and flag.startswith("--") else flag for phase in phases
             for flag in (*TRAINER_FLAGS, "--lr_cooldown_steps", 1, "--cache_dir", tmp_path / "cache")]
    training = ("training/train_base.py", "--train_data_dir", kanji, "--output_dir", tmp_path / "base", "--vae.steps",
                2, "--vae.batch_size", 4, "--vae.line_art_measured", 1, "--reward_model.steps", 2,
                "--reward_model.batch_size", 16, "--reward_model.vae_reconstructed", 4, *flags)
    run(*training)
    assert train_base.main([str(argument) for argument in training[1:]]) == 0
    assert capsys.readouterr().out.count("is complete") == 3, "what is complete is not run again"
    tokens = json.loads((tmp_path / "base/tiny/component_tokens.json").read_text(encoding="utf8"))
    assert tokens["⿰"] == "left right" and len(tokens) > 10
    logged = (tmp_path / "base/tiny/training_log.jsonl").read_text(encoding="utf8").splitlines()
    assert tuple(dict.fromkeys(json.loads(line)["phase"] for line in logged)) == phases
    card = (tmp_path / "base/tiny/README.md").read_text(encoding="utf8")
    assert f"python training/train_base.py --train_data_dir {kanji.name} --vae.steps 2 " in card
    assert "\n36 images; the hours are those of updates alone, on " in card
    run("training/generate.py", "moon", "--model", tmp_path / "base/tiny", "--output", tmp_path / "drawn", "--steps", 2)
    assert (tmp_path / "drawn/moon-0.png").exists()


@pytest.mark.usefixtures("own_accelerator")
def test_grey_icons_that_the_autoencoder_redraws_badly_are_warned_of_trained_on_and_drawn(tmp_path, capsys):
    icons, flags = save_icons(tmp_path / "icons"), (*TRAINER_FLAGS, "--validation_prompts", "small circle")
    for picture in icons.glob("*.png"):
        Image.eval(Image.open(picture), lambda value: 128 + value // 2).save(picture)
    trained = run("training/train_text_to_image.py", "--preset", "tiny", "--train_data_dir", icons, "--output_dir",
                  tmp_path / "run", "--cache_dir", tmp_path / "cache", *flags)
    wrong, command = re.search(r"(\d+)% of their ink.*from scratch: python (.*) --output_dir NEW_FOLDER",
                               trained.stderr).groups()
    assert int(wrong) > 30
    run("training/generate.py", "circle in square", "--model", tmp_path / "run", "--output", tmp_path / "drawn",
        "--steps", 2)
    assert Image.open(tmp_path / "drawn/circle-in-square-0.png").size == (128, 128)

    words = [f"--words.{flag[2:]}" if flag.startswith("--") else flag for flag in flags]
    script, *offered = shlex.split(command)
    assert script == "training/train_base.py"
    assert train_base.main([*offered, "--output_dir", str(tmp_path / "base"), "--vae.steps", "2", "--vae.batch_size",
                            "4", "--vae.line_art_measured", "0", *words, "--words.lr_cooldown_steps", "1",
                            "--words.cache_dir", str(tmp_path / "cache")]) == 0
    assert "names no components" in capsys.readouterr().out
    assert (tmp_path / "base/tiny/vae/diffusion_pytorch_model.safetensors").exists()
