"""Our training step beside that of the stock text-to-image recipe: images/s, peak memory and their ratio.

    python tests/benchmarks/train_step.py --base sd-nano --batch_size 4 --steps 3 --rounds 2

Same base (random weights of its sizes), pictures, batch, precision and machine; the two take turns, each in a process
of its own. The recipe is rebuilt from diffusers' own classes as its script has it, per step: PNGs decoded through a
DataLoader, captions tokenized, VAE and text encoder run, UNet forward and backward under autocast, gradients clipped,
AdamW, EMA parameter by parameter, and the loss read twice. Ours is TrainingRun.train_step itself, its cache filled
before the clock starts; what filling it costs is said beside it. Beside wall time stands CPU time, which a machine
that does other work at the same time does not disturb. On CUDA the fraction of the GPU's measured bf16 matmul rate is
shown too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "tests")]

# base: pixels, pictures in a batch by default, of a CPU and of a CUDA GPU
BASES = {"tiny": (128, 16, 256), "sd-nano": (128, 4, 64), "sd14": (512, 1, 8), "small": (32, 4, 4)}
SETTINGS = ("compile", "compile_mode", "half_weights", "compress_gradients")  # of ours, as the trainer calls them
PROFILED = 2  # steps after the measured ones, for who looks at one more closely


def main() -> None:
    """Measure both in turn and print a Markdown table, or, as a worker, one of them as JSON."""
    options = parse()
    if options.worker:
        print(json.dumps(measure(options)))
        return
    results = {"stock": [], "ours": []}
    for _ in range(options.rounds):
        for name, rounds in results.items():
            rounds.append(run_worker(name, options.batch_size))
            print(f"{name}: {rounds[-1]}", file=sys.stderr)
    print(table(options, results))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", choices=BASES, default="tiny")
    parser.add_argument("--batch_size", type=int, help="pictures a step; by default what fits a machine of its kind")
    parser.add_argument("--steps", type=int, default=5, help="measured steps a round, after one to warm up")
    parser.add_argument("--rounds", type=int, default=2, help="turns that each of the two takes")
    parser.add_argument("--mixed_precision", choices=("no", "bf16"), default="bf16")
    parser.add_argument("--no_ema", action="store_true", help="leave the average out of both: 4 bytes a weight less")
    parser.add_argument("--compile", action="store_true", help="torch.compile in ours")
    parser.add_argument("--compile_mode", choices=("default", "reduce-overhead", "max-autotune"), default="default")
    parser.add_argument("--half_weights", action="store_true", help="cast the weights once an update in ours")
    parser.add_argument("--compress_gradients", choices=("no", "fp16", "bf16"), default="no")
    parser.add_argument("--worker", choices=("stock", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.batch_size is None and not options.worker:
        import torch

        options.batch_size = BASES[options.base][2 if torch.cuda.is_available() else 1]
    return options


def run_worker(name: str, batch_size: int) -> dict[str, float]:
    """One round of one of the two, in a new process."""
    ended = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--worker", name, "--batch_size", str(batch_size)],
                           stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(f"error: the round of {name} ended with status {ended.returncode}"
                 f"{' (killed: out of memory?)' if ended.returncode == -9 else ''}; lower --batch_size or add --no_ema")
    return json.loads(ended.stdout.splitlines()[-1])


def measure(options: argparse.Namespace, look: Callable[[Callable[[], None]], dict] = lambda step: {}) -> dict:
    """Build the base and its pictures, and time one of the two; `look` is given the step after that, PROFILED times.

    Where several processes do so at once, each with batches of its own, images/s are those of all.
    """
    import torch

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = build(options.base)
        work = Path(folder)
        save_images(work / "data", 2 * options.batch_size, BASES[options.base][0], options.base)
        began = time.perf_counter()
        step = (stock_step if options.worker == "stock" else our_step)(options, pipeline, work)
        ready = time.perf_counter() - began
        step()  # warms up: allocations, the choice of kernels, compilation
        synchronise()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(options.steps):
            step()
        synchronise()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        images = options.steps * options.batch_size * processes()
        from trainer.run_folder import peak_memory_gb

        result = {"images_per_s": images / wall, "images_per_cpu_s": images / cpu, "setup_s": ready,
                  "peak_gb": peak_memory_gb(device())}
        result |= look(step)
        result["gflop"] = gflop_an_image(pipeline, options.base)
        result["fraction"] = result["gflop"] * result["images_per_s"] / processes() / matmul_gflops()
        return result


# --- ours ------------------------------------------------------------------------------------------------------------

def our_step(options: argparse.Namespace, pipeline: object, work: Path) -> object:
    """TrainingRun.train_step, fed as its loop feeds it."""
    import torch
    from accelerate import Accelerator

    from common.stop_signals import StopSignals
    from dataset.captioned_folder import read_dataset
    from trainer import parts
    from trainer.config import TrainConfig
    from trainer.loop import TrainingRun

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    parts.load_pipeline = lambda *_: pipeline
    config = TrainConfig(
        train_data_dir=work / "data", output_dir=work / "run", cache_dir=work / "cache",
        resolution=BASES[options.base][0], train_batch_size=options.batch_size,
        max_train_steps=options.steps + 1 + PROFILED, mixed_precision=options.mixed_precision,
        use_ema=not options.no_ema, gradient_accumulation_steps=processes(), validation_prompts=("moon",),
        **{name: getattr(options, name) for name in SETTINGS})
    accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=not torch.cuda.is_available())
    rows = read_dataset(work / "data", progress=False)
    run = TrainingRun(config, accelerator, parts.build_parts(config, accelerator, rows), None, StopSignals())
    upcoming = run.parts.batches.from_step(0, config.max_train_steps)

    def step() -> None:
        run.train_step(next(upcoming))
        run.step += 1

    return step


# --- the stock recipe ------------------------------------------------------------------------------------------------

def stock_step(options: argparse.Namespace, pipeline: object, work: Path) -> object:
    """A step of diffusers' examples/text_to_image/train_text_to_image.py, from the classes that it uses."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel, compute_snr

    accelerator = Accelerator(mixed_precision=options.mixed_precision, cpu=not torch.cuda.is_available())
    vae, text_encoder, unet = pipeline.vae, pipeline.text_encoder, pipeline.unet
    weight_dtype = torch.bfloat16 if options.mixed_precision == "bf16" else torch.float32
    vae.requires_grad_(False)
    text_encoder.requires_grad_(False)
    unet.train()
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    rates = get_scheduler("constant", optimizer=optimizer)
    loader = picture_loader(pipeline, work / "data", options)
    unet, optimizer, loader, rates = accelerator.prepare(unet, optimizer, loader, rates)
    average = None
    if not options.no_ema:
        average = EMAModel(unet.parameters(), model_cls=UNet2DConditionModel, model_config=unet.config)
        average.to(accelerator.device)
    text_encoder.to(accelerator.device, dtype=weight_dtype)
    vae.to(accelerator.device, dtype=weight_dtype)
    batches = endless(loader)

    def step() -> None:
        batch = next(batches)
        with accelerator.accumulate(unet):
            latents = vae.encode(batch["pixel_values"].to(weight_dtype)).latent_dist.sample()
            latents = latents * vae.config.scaling_factor
            noise = torch.randn_like(latents)
            timesteps = torch.randint(0, schedule.config.num_train_timesteps, (latents.shape[0],),
                                      device=latents.device).long()
            noisy = schedule.add_noise(latents, noise, timesteps)
            states = text_encoder(batch["input_ids"], attention_mask=batch["mask"], return_dict=False)[0]
            v = schedule.config.prediction_type == "v_prediction"
            target = schedule.get_velocity(latents, noise, timesteps) if v else noise
            predicted = unet(noisy, timesteps, states, return_dict=False)[0]
            snr = compute_snr(schedule, timesteps)
            weights = torch.stack([snr, 5.0 * torch.ones_like(timesteps)], dim=1).min(dim=1)[0]
            weights = weights / (snr + 1 if v else snr)
            loss = F.mse_loss(predicted.float(), target.float(), reduction="none").mean(dim=[1, 2, 3]) * weights
            loss = loss.mean()
            accelerator.gather(loss.repeat(options.batch_size)).mean().item()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
        if average is not None:
            average.step(unet.parameters())
        loss.detach().item()

    return step


def picture_loader(pipeline: object, data: Path, options: argparse.Namespace) -> object:
    """Pictures and captions as the script's transforms give them, in the main process, as its default is."""
    import numpy as np
    import torch
    from PIL import Image

    resolution, channels = BASES[options.base][0], pipeline.vae.config.in_channels
    lines = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(lines)

        def __getitem__(self, index: int) -> dict[str, object]:
            image = Image.open(data / lines[index]["file_name"]).convert("L" if channels == 1 else "RGB")
            image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
            pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1.0).reshape(
                resolution, resolution, channels).permute(2, 0, 1)
            tokens = pipeline.tokenizer(lines[index]["text"], max_length=pipeline.tokenizer.model_max_length,
                                        padding="max_length", truncation=True, return_tensors="pt")
            return {"pixel_values": pixels, "input_ids": tokens.input_ids[0], "mask": tokens.attention_mask[0]}

    return torch.utils.data.DataLoader(Pictures(), shuffle=True, batch_size=options.batch_size)


def endless(loader: object) -> object:
    """Epoch after epoch."""
    while True:
        yield from loader


# --- the bases -------------------------------------------------------------------------------------------------------

def build(name: str) -> object:
    """A pipeline of the base's sizes, with random weights (but MiniLM's own for `tiny`); `small` is the tests'."""
    from common.quiet import known_noise_off

    with known_noise_off():
        if name == "tiny":
            from models.tiny import assemble_tiny, new_unet, new_vae, tiny_scheduler

            return assemble_tiny(new_vae(), new_unet(), tiny_scheduler())
        if name == "small":
            from models.pipelines import load_pipeline
            from training_fixtures import save_base

            with tempfile.TemporaryDirectory() as folder:
                return load_pipeline(str(save_base(Path(folder))))
        return stable_diffusion(name)


def stable_diffusion(name: str) -> object:
    """Stable Diffusion 2.1's sizes (which SD-nano has) or 1.4's."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from training_fixtures import tokenizer

    nano = name == "sd-nano"
    width = 1024 if nano else 768
    text_encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=23 if nano else 12,
        num_attention_heads=16 if nano else 12, max_position_embeddings=77, hidden_act="gelu" if nano else "quick_gelu",
        bos_token_id=74, eos_token_id=75))
    unet = UNet2DConditionModel(
        sample_size=16 if nano else 64, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=width,
        attention_head_dim=(5, 10, 20, 20) if nano else 8, use_linear_projection=nano)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4)
    scheduler = PNDMScheduler(  # both repositories have it, and both predict epsilon
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, set_alpha_to_one=False,
        steps_offset=1)
    return StableDiffusionPipeline(
        vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer(), scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)


def save_images(folder: Path, count: int, side: int, base: str) -> None:
    """Grey PNGs with strokes on them, and their captions."""
    from PIL import Image, ImageDraw

    rng = random.Random(0)
    folder.mkdir()
    lines = []
    for number in range(count):
        picture = Image.new("L", (side, side), "white")
        for _ in range(10):
            ends = [rng.randrange(side) for _ in range(4)]
            ImageDraw.Draw(picture).line(ends, fill="black", width=side // 32)
        picture.save(folder / f"{number:05d}.png")
        lines.append({"file_name": f"{number:05d}.png", "text": f"moon {number}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# --- figures ---------------------------------------------------------------------------------------------------------

def device() -> object:
    """Where both run."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def processes() -> int:
    """How many processes torchrun started to do this together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def synchronise() -> None:
    """Wait for the GPU, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gflop_an_image(pipeline: object, base: str) -> float:
    """Matmul and convolution work of a UNet's forward and backward pass (twice the forward), by torch's counter."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    unet = pipeline.unet
    side, tokens = BASES[base][0] // pipeline.vae_scale_factor, 16 if base == "tiny" else 77
    dtype = next(unet.parameters()).dtype
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(torch.zeros(1, 4, side, side, device=unet.device, dtype=dtype), 1,
             torch.zeros(1, tokens, unet.config.cross_attention_dim, device=unet.device, dtype=dtype))
    return 3 * counter.get_total_flops() / 1e9


def matmul_gflops(repeats: int = 20) -> float:
    """The device's rate in a bf16 matrix product: a large one on a GPU."""
    import torch

    side = 8192 if torch.cuda.is_available() else 512
    one = torch.randn(side, side, device=device(), dtype=torch.bfloat16)
    one @ one
    synchronise()
    began = time.perf_counter()
    for _ in range(repeats):
        one @ one
    synchronise()
    return repeats * 2 * side**3 / (time.perf_counter() - began) / 1e9


def table(options: argparse.Namespace, results: dict[str, list[dict[str, float]]]) -> str:
    """The figures in Markdown: the best round of each, and the ratios."""
    import torch

    from common.device import choose_device, machine_name

    best = {name: {key: (min if key in ("peak_gb", "setup_s") else max)(one[key] for one in rounds)
                   for key in rounds[0]} for name, rounds in results.items()}
    where = machine_name(choose_device("auto"))
    if not torch.cuda.is_available():
        where += f", {torch.get_num_threads()} thread(s)"
    lines = [f"{options.base} at {BASES[options.base][0]} px, batch {options.batch_size}, {options.mixed_precision}, "
             f"{'no EMA' if options.no_ema else 'EMA'}; {where}; best of {options.rounds} x {options.steps} steps",
             "", "| | images/s | images/s of CPU time | peak memory |", "| --- | --- | --- | --- |"]
    for name, one in best.items():
        rates = f"{one['images_per_s']:.3f} | {one['images_per_cpu_s']:.3f}"
        lines.append(f"| {name} | {rates} | {one['peak_gb']:.1f} GB |")
    ratios = [best["ours"][key] / best["stock"][key] for key in ("images_per_s", "images_per_cpu_s")]
    lines.append(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} | |")
    lines += ["", f"load average {os.getloadavg()[0]:.1f}; setting ours up, its cache of {2 * options.batch_size} "
              f"pictures included: {best['ours']['setup_s']:.1f} s"]
    lines += [f"ours runs at {best['ours']['fraction']:.0%} of the measured bf16 matmul rate",
              f"UNet forward and backward: {best['ours']['gflop']:.1f} GFLOP an image"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
