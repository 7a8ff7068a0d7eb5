"""Times Math-Verify on pairs of answers.

Reads JSON lines with "gold" and "pred" from the first file, writes one line with "seconds" (the best of several
repetitions) and "correct" for each to the second. Both answers are given as formulas between dollar signs, which is what
Math-Verify expects of LaTeX.
"""

import json
import sys
import time

from math_verify import parse, verify


def grade(gold: str, pred: str) -> bool:
    return verify(parse(f"${gold}$"), parse(f"\\boxed{{{pred}}}"))


def main(pairs_path: str, out_path: str, repeat: int) -> None:
    grade("1", "2")  # imports and caches
    with open(pairs_path) as pairs, open(out_path, "w") as out:
        for line in pairs:
            pair = json.loads(line)
            best, correct = float("inf"), False
            for _ in range(repeat):
                start = time.perf_counter()
                correct = grade(pair["gold"].strip("$"), pair["pred"].strip("$"))
                took = time.perf_counter() - start
                best = min(best, took)
                if took > 1:  # a time-out stays one
                    break
            out.write(json.dumps({"seconds": best, "correct": bool(correct)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
