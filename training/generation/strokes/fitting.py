"""Strokes of real kanji fitted to a drawn character: first each component as a whole, then every control point.

The first is an iterated closest point (Besl and McKay 1992) with an affine map for each component. The second lets the
strokes' rendering approach the image, blurred at first, by Gauss-Newton steps (Levenberg-Marquardt damping): the
coverage of a pixel depends on its distance to the nearest point of a stroke, and that point on the control points
linearly. Neighbouring control points are held together, so that a stroke keeps its kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import block_diag, cho_factor, cho_solve
from scipy.spatial import cKDTree
from scipy.special import erf

from generation.strokes.curves import curve_points, weights_of
from generation.strokes.ink import PIXEL, SIDE, Ink
from generation.strokes.kanjivg import STROKE_WIDTH

CLOSEST_POINT_STEPS = 10
REACHES = (5.0, 1.5)  # units, of the first and the last of these: what is farther away counts little
AFFINE_STIFFNESS = 1.5  # points' worth of staying as it is
BLURS = ((2.2, 4), (1.2, 5), (0.65, 6))  # px that the image is blurred to, and Gauss-Newton steps at that
STIFFNESS = 0.10  # of neighbouring control points' moving apart by a px, in squared coverage
ANCHOR = 0.002  # of a control point's moving by a px
DAMPING = 0.05
PEN_BLUR = 0.55  # px, of the Gaussian that the edges of a drawn line are like
BAND = 4  # px around strokes in which pixels are compared, also where there is no ink


def align(parts: Sequence[Sequence[np.ndarray]], ink: Ink) -> list[np.ndarray]:
    """The strokes of some components, one component after another, each moved onto the ink by an affine map."""
    points = [np.concatenate([curve_points(stroke) for stroke in part]) for part in parts]
    ends = np.cumsum([len(one) for one in points])
    maps, moved = [np.eye(3, 2)] * len(parts), np.concatenate(points)
    for reach in np.geomspace(*REACHES, CLOSEST_POINT_STEPS):
        far, nearest = ink.tree.query(moved)
        far_back, nearest_back = cKDTree(moved).query(ink.points)
        sources = np.concatenate([np.arange(len(moved)), nearest_back])
        targets = np.concatenate([ink.points[nearest], ink.points])
        share = 0.5 * len(moved) / len(ink.points)  # ink counts half as much as strokes
        weights = np.concatenate([_weight(far, reach), share * _weight(far_back, reach)])
        for part, end in enumerate(ends):
            start = end - len(points[part])
            mine = (sources >= start) & (sources < end)
            maps[part] = _affine(points[part][sources[mine] - start], targets[mine], weights[mine], maps[part])
        moved = np.concatenate([_mapped(*one) for one in zip(points, maps, strict=True)])
    return [_mapped(stroke, affine) for part, affine in zip(parts, maps, strict=True) for stroke in part]


def _weight(far: np.ndarray, reach: float) -> np.ndarray:
    return np.exp(-0.5 * (far / reach) ** 2)


def _mapped(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return points @ affine[:2] + affine[2]


def _affine(sources: np.ndarray, targets: np.ndarray, weights: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The affine map (3, 2) that brings sources to targets, by least squares; it changes slowly."""
    if not len(sources):
        return before
    middle = sources.mean(0)
    design = np.column_stack([sources - middle, np.ones(len(sources))])
    spread = np.diag([400.0, 400.0, 1.0]) * AFFINE_STIFFNESS  # units squared, of a component's points about its middle
    local = np.vstack([before[:2], before[2] + middle @ before[:2]])
    normal = design.T @ (weights[:, None] * design) + spread
    right = design.T @ (weights[:, None] * targets) + spread @ local
    found = np.linalg.solve(normal, right)
    return np.vstack([found[:2], found[2] - middle @ found[:2]])


def refine(strokes: Sequence[np.ndarray], ink: Ink) -> list[np.ndarray]:
    """Strokes, in units, each control point of which is moved so that their rendering becomes the image."""
    control = start = np.concatenate(strokes) / PIXEL
    blocks = [weights_of(stroke) for stroke in strokes]
    weights, ends = block_diag(*blocks).astype(np.float32), np.cumsum([len(block) for block in blocks])
    stiffness = _stiffness([len(stroke) for stroke in strokes])
    for blur, steps in BLURS:
        target = ink.blurred((blur**2 - PEN_BLUR**2) ** 0.5)
        for _ in range(steps):
            control = _step(control, start, weights, ends, stiffness, target, blur)
    return [stroke * PIXEL for stroke in np.split(control, np.cumsum([len(stroke) for stroke in strokes])[:-1])]


def _stiffness(lengths: Sequence[int]) -> np.ndarray:
    """The quadratic form of what control points may not do: move apart from their neighbours, or far."""
    blocks = []
    for length in lengths:
        apart = np.diff(np.eye(length), axis=0)
        blocks.append(STIFFNESS * apart.T @ apart + ANCHOR * np.eye(length))
    return block_diag(*blocks)


def _step(control: np.ndarray, start: np.ndarray, weights: np.ndarray, ends: np.ndarray, stiffness: np.ndarray,
          target: np.ndarray, blur: float) -> np.ndarray:
    """One Gauss-Newton step of all control points (n, 2), in px."""
    points = weights @ control
    pixels = _pixels(points, target)
    distance, away, row_weights = _nearest(pixels, points, weights, ends)
    columns, rows = pixels.astype(int).T
    radius = 0.5 * STROKE_WIDTH / PIXEL
    covered = 0.5 * (erf((radius - distance) / (blur * 2**0.5)) + erf((radius + distance) / (blur * 2**0.5)))
    slope = (np.exp(-0.5 * ((radius - distance) / blur) ** 2) - np.exp(-0.5 * ((radius + distance) / blur) ** 2)
             ) / (blur * (2 * np.pi) ** 0.5)
    residual = target[rows, columns] - covered  # to be added to what is covered
    direction = (slope[:, None] * away).astype(np.float32)  # of a pixel's coverage, as its point moves
    jacobian = np.hstack([direction[:, :1] * row_weights, direction[:, 1:] * row_weights])
    count = len(control)
    normal = (jacobian.T @ jacobian).astype(np.float64)
    gradient = (jacobian.T @ residual.astype(np.float32)).astype(np.float64)
    moved = control - start
    gradient -= np.concatenate([stiffness @ moved[:, 0], stiffness @ moved[:, 1]])
    normal[:count, :count] += stiffness
    normal[count:, count:] += stiffness
    normal[np.diag_indices(2 * count)] += DAMPING
    change = cho_solve(cho_factor(normal), gradient)
    return control + np.clip(np.stack([change[:count], change[count:]], axis=1), -3.0, 3.0)


def _pixels(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The middles (n, 2) of the pixels near strokes or ink, in px."""
    near = target > 0.02
    spots = np.clip(points.astype(int), 0, SIDE - 1)
    around = np.arange(-BAND, BAND + 1)
    rows = np.clip(spots[:, 1, None, None] + around[:, None], 0, SIDE - 1)
    columns = np.clip(spots[:, 0, None, None] + around, 0, SIDE - 1)
    near[rows, columns] = True
    rows, columns = np.nonzero(near)
    return np.stack([columns, rows], axis=1) + 0.5


def _nearest(pixels: np.ndarray, points: np.ndarray, weights: np.ndarray,
             ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each pixel the distance to the nearest point of a stroke, the direction from there, and that point's weights.

    The strokes are lines through `points`, the last of each before one of `ends`.
    """
    nearest = cKDTree(points).query(pixels)[1]
    last, first = np.isin(nearest, ends - 1), np.isin(nearest, np.concatenate([[0], ends[:-1]]))
    best = None
    for begin in (np.where(first, nearest, nearest - 1), np.where(last, nearest - 1, nearest)):
        from_, to = points[begin], points[begin + 1]
        along = to - from_
        t = np.clip(((pixels - from_) * along).sum(1) / np.maximum((along**2).sum(1), 1e-9), 0.0, 1.0)
        gap = pixels - (from_ + t[:, None] * along)
        distance = np.sqrt((gap**2).sum(1))
        if best is None:
            best = [distance, gap, begin, t]
        else:
            closer = distance < best[0]
            best = [np.where(closer, distance, best[0]), np.where(closer[:, None], gap, best[1]),
                    np.where(closer, begin, best[2]), np.where(closer, t, best[3])]
    distance, gap, begin, t = best
    t = t[:, None].astype(np.float32)
    return distance, gap / np.maximum(distance, 1e-6)[:, None], (1 - t) * weights[begin] + t * weights[begin + 1]
