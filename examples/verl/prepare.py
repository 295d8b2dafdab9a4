"""Write the questions of an agent loop's settings as the parquet files that verl reads.

python prepare.py agent_loop.yaml data --test 500
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import yaml
from datasets import Dataset

from igpo_gym.adapters.verl import AGENT, dataset


def main() -> None:
    """Split the questions at random into train.parquet and test.parquet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path, help="the file of agent loops")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--test", type=int, default=500, help="questions that are held out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    loops = {loop["name"]: loop for loop in yaml.safe_load(options.config.read_text())}
    rows = dataset(**loops[AGENT]["settings"])
    if not 0 < options.test < len(rows):
        parser.error(f"--test must be between 1 and {len(rows) - 1}, the number of questions less one")
    random.Random(options.seed).shuffle(rows)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", rows[: options.test]), ("train", rows[options.test :])):
        Dataset.from_list(part).to_parquet(str(options.folder / f"{name}.parquet"))
        print(f"{len(part)} questions in {options.folder / f'{name}.parquet'}")


if __name__ == "__main__":
    main()
