"""Checks the records of a run that trained in float32: every number finite, sampler and trainer of one mind about log-probabilities.

    multiattempt export-metrics RUN --csv - | python tools/export/records.py --steps 2

Exit code 1 when they are not, or where steps are missing.
"""

import argparse
import csv
import math
import sys

MISMATCH = "sampler_mismatch_mean_abs_per_token"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, required=True, help="that the run has made")
    p.add_argument("--mismatch", type=float, default=1e-4, help="most mean |log-probability of the sampler - of the trainer| of a token")
    a = p.parse_args()

    bad, steps, largest = [], set(), 0.0
    for row in csv.DictReader(sys.stdin):
        step = int(row.pop("step"))
        for name, text in row.items():
            if name in ("run", "time") or text == "":
                continue
            x = float(text)
            if not math.isfinite(x):
                bad.append(f"step {step}: {name} is {text}")
            if name.endswith(MISMATCH):
                steps.add(step)
                largest = max(largest, x)
                if not x <= a.mismatch:
                    bad.append(f"step {step}: {name} is {text}, expected at most {a.mismatch:g}")
    missing = sorted(set(range(1, a.steps + 1)) - steps)
    if missing:
        bad.append(f"no record with {MISMATCH} of steps {missing}")
    if bad:
        sys.exit("\n".join(bad))
    print(f"records of {len(steps)} steps are finite; largest {MISMATCH} {largest:.2g}")


main()
