"""Logs what `multiattempt export-metrics RUN… --csv -` prints to Weights & Biases: one of its runs a run, resumed by name.

    pip install wandb
    multiattempt export-metrics my-run --csv - | python3 tools/trackers/wandb_log.py

WANDB_PROJECT names the project; WANDB_MODE=offline keeps everything in ./wandb until `wandb sync`.
"""

import csv
import itertools
import os
import sys

import wandb

for name, rows in itertools.groupby(csv.DictReader(sys.stdin), key=lambda row: row["run"]):
    project = os.environ.get("WANDB_PROJECT", "multiattempt")
    with wandb.init(project=project, id=name, name=name, resume="allow") as run:
        for row in rows:
            step = int(row["step"])
            if step >= run.step:  # a resumed run has the steps before
                numbers = {k: float(v) for k, v in row.items() if k not in ("run", "step", "time") and v != ""}
                run.log(numbers, step=step)
