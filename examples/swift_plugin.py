"""A plugin of ms-swift (``--external_plugins``), and run as a program its data set.

    python examples/swift_plugin.py --questions world --scorer nano --out train.jsonl
    swift rlhf --rlhf_type grpo --external_plugins examples/swift_plugin.py --dataset train.jsonl \\
        --multi_turn_scheduler searchqa_igpo --use_gym_env true --max_turns 6 --model MODEL ...
"""

import argparse
import json
from pathlib import Path

from igpo_gym.adapters.swift import dataset

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--questions", default="world")
    parser.add_argument("--scorer", default="nano")
    parser.add_argument("--reward", default="igpo")
    parser.add_argument("--out", type=Path, required=True)
    options = vars(parser.parse_args())
    out = options.pop("out")
    rows = dataset(**options)
    out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} questions in {out}")
