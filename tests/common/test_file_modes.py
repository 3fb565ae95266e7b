"""Who may read what the project writes is the umask's to say: colleagues on a shared server, or nobody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from training_fixtures import forked, run_main, save_base, save_dataset, small_config


def modes(top: Path) -> tuple[dict[str, int], dict[str, int]]:
    """The modes of all folders and of all files in a folder, by name."""
    folders, files = {}, {}
    for path in top.rglob("*"):
        (folders if path.is_dir() else files)[path.relative_to(top).as_posix()] = stat.S_IMODE(path.stat().st_mode)
    return folders, files


def a_run(folder: Path, umask: int) -> set[str]:
    """A LoRA's run with its checkpoints, pipeline, adapter and cache; returns some of what must be there."""
    save_base(folder / "base")
    config = small_config(folder / "base", save_dataset(folder / "data"), folder / "out" / "run", lora_rank=2,
                          max_train_steps=2, checkpointing_steps=1, report_to="tensorboard")
    ended = run_main(config, folder / "log", lambda: os.umask(umask))
    assert ended.status == 0, ended.output
    return {"run/pipeline/unet/diffusion_pytorch_model.safetensors", "run/pipeline/text_encoder/model.safetensors",
            "run/lora/pytorch_lora_weights.safetensors", "run/lora/kohya_lora.safetensors", "run/metrics.jsonl",
            "run/checkpoint-000002/unet.safetensors", "run/samples/step-000002.png", "run/finished.json", "cache/lock"}


def a_recogniser(folder: Path, umask: int) -> set[str]:
    """A recogniser's weights, and the embeddings that are kept beside the kanji that it knows."""
    from recogniser.judge import Judge
    from recogniser.network import WEIGHTS, save_recogniser
    from recogniser_fixtures import save_kanji_set

    def work() -> None:
        os.umask(umask)
        (folder / "out").mkdir()
        judge = Judge.load(dataset=save_kanji_set(folder / "out" / "kanji"))
        assert judge.references is not None
        save_recogniser(folder / "out" / "weights", judge.network, judge.vocabulary, {})

    ended = forked(work, folder / "log")
    assert ended.status == 0, ended.output
    kept, = (folder / "out").glob("kanji-references-*.safetensors")
    return {f"weights/{WEIGHTS}", kept.name}


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("write", [a_run, a_recogniser])
def test_files_have_the_mode_that_the_umask_gives(
        write: Callable[[Path, int], set[str]], umask: int, tmp_path: Path) -> None:
    expected = write(tmp_path, umask)
    folders, files = modes(tmp_path / "out")
    assert expected <= files.keys()
    assert {name: mode for name, mode in files.items() if mode != 0o666 & ~umask} == {}
    assert {name: mode for name, mode in folders.items() if mode != 0o777 & ~umask} == {}
