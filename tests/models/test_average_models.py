"""Two models of one base become one whose UNet lies between theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import average_models as average_models_command
from models.pipelines import load_pipeline
from training_fixtures import save_base


@pytest.fixture
def trained(base: Path, tmp_path: Path) -> Path:
    """The base with other weights in its UNet, rounded to fp16 as a run's are."""
    pipeline = load_pipeline(str(base))
    with torch.no_grad():
        for weight in pipeline.unet.parameters():
            weight.add_(0.5)
    pipeline.to(torch.float16).save_pretrained(tmp_path / "trained")
    return tmp_path / "trained"


def test_the_unet_lies_between_and_all_else_is_the_first_ones(base: Path, trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "averaged"
    assert average_models_command.main([str(base), str(trained), "--fraction", "0.25", "--output", str(output)]) == 0
    before, after = load_pipeline(str(base)), load_pipeline(str(output))
    for name, weight in before.unet.named_parameters():
        assert torch.allclose(after.unet.get_parameter(name), weight + 0.125, atol=2e-3), name
    assert torch.allclose(before.vae.post_quant_conv.weight, after.vae.post_quant_conv.weight, atol=1e-3)
    card = (output / "README.md").read_text()
    assert "KANJIDIC2" in card and str(tmp_path) not in card
    assert str(base) not in (output / "unet" / "config.json").read_text()


@pytest.mark.parametrize(("harm", "words"), [
    ("other base", "not of the same base"), ("no model", "no such pipeline folder"), ("there", "is there already")])
def test_what_cannot_be_averaged_is_said_and_nothing_is_written(
        harm: str, words: str, base: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "averaged"
    if harm == "other base":
        trained = save_base(tmp_path / "sd2", "sd2", channels=1)
    if harm == "no model":
        trained = tmp_path / "none"
    if harm == "there":
        output.mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert average_models_command.main([str(base), str(trained), "--output", str(output)]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and words in message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_fraction_outside_its_range_is_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leaving:
        average_models_command.main(["a", "b", "--fraction", "1.5"])
    assert leaving.value.code == 2
    assert "--fraction" in capsys.readouterr().err


def test_the_old_name_of_the_fraction_is_refused_in_a_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as leaving:
        average_models_command.main(["a", "b", "--share=0.5"])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.endswith(": error: --share is called --fraction now\n")
