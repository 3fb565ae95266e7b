"""What happens to a glyph on its way through a sampler, and what breaks one: on batches of ink, from an rng.

Ink is float32 (B, 1, S, S) in [0, 1], 1 where a stroke is, and what is made of it is on its device; an rng is on the
CPU, so that it draws the same for any. `as_sampled` does what a diffusion model does to a character
that it draws well: shifted, a little bent, blurred, grey, noisy, with pin-holes. The functions of `BREAKERS` do what no
character survives; a recogniser learns well-formedness from the two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from common.device import to_device

Breaker = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
MIN_INK_LOSS = 0.12  # fraction of the ink that must be gone before a glyph counts as one that lost strokes
MIRROR_SHIFT = 4  # px by which a mirror image may be moved to lie on its glyph
SYMMETRIC = 0.5  # a glyph that overlaps its mirror image by more (soft IoU; 7 % of kanji, as 圓) is not broken by it


def as_sampled(ink: torch.Tensor, rng: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """A batch as a sampler might have drawn it; `strength` 0 leaves it as it is, 1 is the most that stays readable."""
    grid = _affine_grid(ink, rng, shift=0.06 * strength, scale=0.10 * strength, shear=0.04 * strength)
    grid = grid + _smooth_field(ink, 5, rng) * 0.035 * strength * _uniform(ink, rng)
    ink = F.grid_sample(ink, grid, align_corners=False, padding_mode="zeros")
    ink = _thickness(ink, rng, strength)
    ink = _pin_holes(ink, rng, strength)
    ink = _blur(ink, _uniform(ink, rng, ()) * 0.9 * strength)
    contrast = 1.0 - 0.35 * strength * _uniform(ink, rng) ** 2
    noise = to_device(torch.randn(ink.shape, generator=rng), ink.device) * 0.08 * strength * _uniform(ink, rng) ** 2
    paper = 0.06 * strength * _uniform(ink, rng) ** 2
    return (paper + ink * contrast + noise).clamp(0.0, 1.0)


def drop_strokes(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Take straight runs of ink away, each with its whole width, until at least MIN_INK_LOSS of the ink is gone."""
    out = ink.clone()
    side = ink.shape[-1]
    for glyph in out[:, 0]:
        target = glyph.sum().item() * (1.0 - MIN_INK_LOSS - 0.25 * torch.rand((), generator=rng).item())
        for _ in range(12):
            inked = (glyph > 0.5).nonzero()
            if not len(inked) or glyph.sum().item() <= target:
                break
            y, x = inked[torch.randint(len(inked), (), generator=rng)].tolist()
            angle = _longest_run(glyph, y, x)
            half = side * (0.1 + 0.2 * torch.rand((), generator=rng).item())
            glyph *= 1.0 - _bar(side, y, x, angle, half, 0.045 * side)
    return out


def shuffle_patches(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Cut each glyph into 2x2 or 3x3 or 4x4 patches and put each in another's place."""
    out = torch.empty_like(ink)
    side = ink.shape[-1]
    for index, glyph in enumerate(ink):
        cells = 2 + int(torch.randint(3, (), generator=rng))
        size = side // cells
        patches = [glyph[:, y * size:(y + 1) * size, x * size:(x + 1) * size]
                   for y in range(cells) for x in range(cells)]
        turn = 1 + int(torch.randint(len(patches) - 1, (), generator=rng))
        order = torch.randperm(len(patches), generator=rng).tolist()
        moved = dict(zip(order, order[turn:] + order[:turn], strict=True))  # a cycle: no patch stays where it was
        rows = [torch.cat([patches[moved[y * cells + x]] for x in range(cells)], dim=2) for y in range(cells)]
        out[index] = F.interpolate(torch.cat(rows, dim=1)[None], size=(side, side), mode="bilinear")[0]
    return out


def overlay_two(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Draw each glyph over another of the batch."""
    shift = 1 + int(torch.randint(max(1, len(ink) - 1), (), generator=rng))
    return torch.maximum(ink, ink.roll(shift, 0))


def mirror(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Turn each glyph over, left for right; one that looks the same both ways loses strokes instead."""
    flipped = ink.flip(-1)
    same = is_symmetric(ink)
    if same.any():
        flipped[same] = drop_strokes(ink[same], rng)
    return flipped


def melt(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Bend each glyph until its strokes no longer run as strokes do."""
    field = _smooth_field(ink, 8, rng)
    strength = 0.07 + 0.14 * _uniform(ink, rng)
    return F.grid_sample(ink, _identity_grid(ink) + field * strength, align_corners=False, padding_mode="zeros")


def patchwork(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Put a random blob of one glyph into another, so that strokes end and begin at its edge."""
    other = ink.roll(1, 0)
    field = _smooth_field(ink, 4, rng)[..., 0][:, None]
    mask = (field > field.flatten(1).median(1).values[:, None, None, None]).float()
    return ink * mask + other * (1.0 - mask)


def scribble(ink: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Lines from nowhere: level lines of smooth noise, as thick as strokes; the glyphs lend only their number."""
    field = _smooth_field(ink, 6, rng)[..., 0][:, None]
    slope = (field[..., 1:, :-1] - field[..., :-1, :-1]).abs() + (field[..., :-1, 1:] - field[..., :-1, :-1]).abs()
    slope = F.pad(slope, (0, 1, 0, 1), mode="replicate").clamp_min(1e-3)
    lines = torch.exp(-((field / slope) ** 2)) + torch.exp(-(((field - 0.7) / slope) ** 2))
    frame = torch.zeros_like(ink)
    frame[..., 4:-4, 4:-4] = 1.0
    return lines.clamp(0.0, 1.0) * frame


BREAKERS: dict[str, Breaker] = {
    "strokes dropped": drop_strokes,
    "shuffled": shuffle_patches,
    "overlaid": overlay_two,
    "mirrored": mirror,
    "melted": melt,
    "patchwork": patchwork,
    "scribble": scribble,
}


def is_symmetric(ink: torch.Tensor) -> torch.Tensor:
    """Whether each glyph looks the same in a mirror, bool (B,): by soft overlap of the blurred ink, at any shift."""
    soft = _blur(ink, ink.new_full((len(ink),), 1.0))
    overlaps = []
    for shift in range(-MIRROR_SHIFT, MIRROR_SHIFT + 1):
        flipped = soft.flip(-1).roll(shift, -1)
        overlaps.append(torch.minimum(soft, flipped).flatten(1).sum(1)
                        / torch.maximum(soft, flipped).flatten(1).sum(1).clamp_min(1e-6))
    return torch.stack(overlaps).amax(0) > SYMMETRIC


def synthetic_pair(first: torch.Tensor, second: torch.Tensor, across: torch.Tensor,
                   fraction: torch.Tensor) -> torch.Tensor:
    """Two whole glyphs made narrow and set side by side, or made flat and set one over the other.

    across: bool (B,), side by side; fraction: float (B,), what the first one has of the width or height. Strokes are
    thickened first by what being made narrow takes from them.
    """
    shape = across[:, None, None, None]
    thick = [torch.where(shape, F.max_pool2d(ink, (1, 3), 1, (0, 1)), F.max_pool2d(ink, (3, 1), 1, (1, 0)))
             for ink in (first, second)]
    one, none = torch.ones_like(fraction), torch.zeros_like(fraction)
    halves = []
    for ink, low, high in ((thick[0], none, fraction), (thick[1], fraction, one)):
        middle, scale = low + high - 1.0, 1.0 / (high - low)  # in grid coordinates, -1 to 1
        theta = torch.stack([
            torch.stack([torch.where(across, scale, one), none, torch.where(across, -middle * scale, none)], 1),
            torch.stack([none, torch.where(across, one, scale), torch.where(across, none, -middle * scale)], 1)], 1)
        grid = F.affine_grid(theta, list(ink.shape), align_corners=False)
        halves.append(F.grid_sample(ink, grid, align_corners=False, padding_mode="zeros"))
    return torch.maximum(*halves)


def _thickness(ink: torch.Tensor, rng: torch.Generator, strength: float) -> torch.Tensor:
    """Strokes thicker or thinner by up to half a pixel: blurred, then a steep ramp at a random level."""
    level = 0.5 + 0.22 * strength * (2.0 * _uniform(ink, rng) - 1.0)
    changed = ((_blur(ink, ink.new_full((len(ink),), 0.7)) - level) * 2.5 + 0.5).clamp(0.0, 1.0)
    use = (_uniform(ink, rng) < 0.5 * strength).float()
    return use * changed + (1.0 - use) * ink


def _pin_holes(ink: torch.Tensor, rng: torch.Generator, strength: float) -> torch.Tensor:
    """Small gaps in the ink, on a third of the glyphs."""
    side = ink.shape[-1]
    hole = (_uniform(ink, rng, (1, side, side)) < 0.004).float()
    hole = F.max_pool2d(hole, 2, 1, 1)[..., :side, :side]
    use = (_uniform(ink, rng) < 0.33 * strength).float()
    return ink * (1.0 - use * hole)


def _blur(ink: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur with a sigma (px) a glyph; separable, 5 taps."""
    taps = torch.arange(-2.0, 3.0, device=ink.device)
    kernel = torch.exp(-(taps**2) / (2.0 * sigma.clamp_min(0.05)[:, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    flat, count = ink.transpose(0, 1), len(ink)
    flat = F.conv2d(flat, kernel[:, None, :, None], padding=(2, 0), groups=count)
    flat = F.conv2d(flat, kernel[:, None, None, :], padding=(0, 2), groups=count)
    return flat.transpose(0, 1).contiguous()


def _affine_grid(ink: torch.Tensor, rng: torch.Generator, shift: float, scale: float, shear: float) -> torch.Tensor:
    """A sampling grid (B, S, S, 2) of random small shifts, scales (each axis its own) and shears."""
    count = len(ink)
    theta = torch.zeros(count, 2, 3)
    signed = 2.0 * torch.rand((count, 2, 3), generator=rng) - 1.0
    theta[:, 0, 0] = 1.0 + scale * signed[:, 0, 0]
    theta[:, 1, 1] = 1.0 + scale * signed[:, 1, 1]
    theta[:, 0, 1] = shear * signed[:, 0, 1]
    theta[:, 1, 0] = shear * signed[:, 1, 0]
    theta[:, :, 2] = 2.0 * shift * signed[:, :, 2]
    return F.affine_grid(to_device(theta, ink.device), list(ink.shape), align_corners=False)


def _identity_grid(ink: torch.Tensor) -> torch.Tensor:
    theta = torch.eye(2, 3, device=ink.device).expand(len(ink), 2, 3)
    return F.affine_grid(theta, list(ink.shape), align_corners=False)


def _smooth_field(ink: torch.Tensor, knots: int, rng: torch.Generator) -> torch.Tensor:
    """Smooth random displacements (B, S, S, 2), unit variance at the knots."""
    coarse = to_device(torch.randn((len(ink), 2, knots, knots), generator=rng), ink.device)
    return F.interpolate(coarse, size=ink.shape[-2:], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def _longest_run(glyph: torch.Tensor, y: int, x: int) -> float:
    """The direction (radians) in which the ink through a point runs on longest, of eight."""
    side = glyph.shape[-1]
    steps = torch.arange(-side // 4, side // 4 + 1).float()
    angles = torch.arange(8) * torch.pi / 8
    ys = (y + steps[None] * torch.sin(angles)[:, None]).round().long().clamp(0, side - 1)
    xs = (x + steps[None] * torch.cos(angles)[:, None]).round().long().clamp(0, side - 1)
    inked = (glyph[ys, xs] > 0.4).float()
    middle = len(steps) // 2
    run = inked[:, middle:].cumprod(1).sum(1) + inked[:, :middle + 1].flip(1).cumprod(1).sum(1)
    return float(angles[int(run.argmax())])


def _bar(side: int, y: int, x: int, angle: float, half_length: float, half_width: float) -> torch.Tensor:
    """A soft-edged bar (S, S) in [0, 1] through (y, x)."""
    rows, columns = torch.meshgrid(torch.arange(side) - y, torch.arange(side) - x, indexing="ij")
    cos, sin = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    along, off = columns * cos + rows * sin, rows * cos - columns * sin
    return (half_length - along.abs() + 0.5).clamp(0, 1) * (half_width - off.abs() + 0.5).clamp(0, 1)


def _uniform(ink: torch.Tensor, rng: torch.Generator, shape: tuple[int, ...] = (1, 1, 1)) -> torch.Tensor:
    """Numbers from 0 to 1, (B, *shape)."""
    return to_device(torch.rand((len(ink), *shape), generator=rng), ink.device)
