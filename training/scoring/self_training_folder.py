"""The folder of a model's own samples: what was drawn so far, and the imagefolder that is made of it in the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import write_text
from common.settings import differences
from scoring.self_training_requests import BAD, GOOD, STROKE_COUNT_ERROR
from trainer import model_card

LOG = "samples.jsonl"  # what was drawn so far, a line each
SAMPLED, NEGATIVE = "sampled", "negative"  # the kinds of rows
CARD = """---
license: cc-by-sa-4.0
task_categories:
- text-to-image
---

# A model's own samples

{kept} characters (kind "sampled") that a model of this project drew and that a recogniser found well-formed, with the
words that they were drawn for and the strokes that it counts; manifest.json names both. Most do not exist; those for
known meanings may be real kanji. Beside them {negative} negative samples (kind "negative") that it drew for the same
prompts and that fail: what is trained on this set is led away from these. Each row has the seed and the command that
draws it again, where the model lies under the name that manifest.json has for it, to within the rounding of bf16.

## Attribution

{attribution}
"""


def unfinished(output: Path) -> Path:
    """Where the set is made before it has its name."""
    return output.with_name(f".{output.name}.part")


def begin(building: Path, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Begin in the unfinished folder, or go on there; returns what was drawn already.

    Raises UserError where it was begun with other settings.
    """
    path, log = building / "manifest.json", building / LOG
    if not path.exists():
        for left in building.iterdir():
            left.unlink()
        log.touch()
        write_text(path, json.dumps(manifest, indent=1) + "\n")
        return []
    _require_same(building, json.loads(path.read_text(encoding="utf8")), manifest)
    whole = log.read_bytes().rpartition(b"\n")[0]  # a line that a kill has torn is drawn again
    text = whole.decode() + "\n" if whole else ""
    write_text(log, text)
    return [json.loads(line) for line in text.splitlines()]


def finish(building: Path, output: Path, manifest: Mapping[str, Any],
           lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write metadata, manifest and card, remove the images of no row, and give the folder its name.

    Returns the manifest with its counts. Raises UserError where no sample is good enough; nothing is lost then.
    """
    rows = choose_rows(lines)
    counts = {name: Counter() for name in ("samples", "kept", "negative")}
    for line, row in zip(lines, rows, strict=True):
        counts["samples"][line["kind"]] += 1
        if row:
            counts["negative" if row["kind"] == NEGATIVE else "kept"][line["kind"]] += 1
    if not counts["kept"]:
        raise UserError(f"none of {len(lines)} samples was good enough; the model needs more training first")
    for line, row in zip(lines, rows, strict=True):
        if not row:
            (building / line["file_name"]).unlink(missing_ok=True)
    totals = {name: counter.total() for name, counter in counts.items()}
    whole = {**manifest, **totals, "kinds": {
        kind: {name: counter[kind] for name, counter in counts.items()} for kind in sorted(counts["samples"])}}
    write_text(building / "metadata.jsonl",
               "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row))
    write_text(building / "README.md", CARD.format(kept=totals["kept"], negative=totals["negative"],
                                                   attribution=model_card.DATA_ATTRIBUTION))
    write_text(building / "manifest.json", json.dumps(whole, indent=1) + "\n")
    building.rename(output)
    (output / LOG).unlink()
    return whole


def read_finished(output: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a finished set. Raises UserError where the folder is none, or one of other settings."""
    try:
        found = json.loads((output / "manifest.json").read_text(encoding="utf8"))
    except (OSError, ValueError):
        raise UserError(f"--output {output}: is there already and is no set of samples; name another") from None
    _require_same(output, found, manifest)
    return found


def choose_rows(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any] | None]:
    """What becomes of each sample: a row of the set, or None where it teaches nothing.

    Where a prompt has good samples and others that clearly fail, the good ones are kept and the others are negative
    samples; where none fails, the first good one is kept; where none is good, those are kept that fail by their
    strokes alone.
    """
    failing = (STROKE_COUNT_ERROR, BAD)
    with_good = {line["group"] for line in lines if line["verdict"] == GOOD}
    with_failing = {line["group"] for line in lines if line["verdict"] in failing}
    rows: list[dict[str, Any] | None] = []
    shown = set()
    for line in lines:
        row, verdict, group = None, line["verdict"], line["group"]
        if verdict == GOOD and (group in with_failing or group not in shown):
            row = _row(line, SAMPLED)
            shown.add(group)
        elif verdict == STROKE_COUNT_ERROR and group not in with_good:
            row = _row(line, SAMPLED)
        elif verdict in failing and group in with_good:
            row = _row(line, NEGATIVE)
        rows.append(row)
    return rows


def _row(line: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A sample that is kept has the strokes that were counted, a negative one the prompt as it was asked."""
    negative = kind == NEGATIVE
    return {"file_name": line["file_name"], "text": line["asked"] if negative else line["text"],
            "strokes": None if negative else line["strokes"], "kind": kind, "seed": line["seed"],
            "command": line["command"]}


def _require_same(folder: Path, found: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Raise UserError where a set, finished or not, comes of other settings or networks."""
    differing = differences(found.get("settings", {}), manifest["settings"])
    differing += [name for name in ("model", "reward_model_sha256") if found.get(name) != manifest[name]]
    if differing:
        raise UserError(f"{folder}: was drawn with other settings ({'; '.join(differing)}); name another --output or "
                        "remove it")
