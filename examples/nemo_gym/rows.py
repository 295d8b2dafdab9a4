"""Rows for NeMo Gym: a question a line, for the server whose configuration is named.

cd examples/nemo_gym
python rows.py resources_servers/searchqa_igpo/configs/searchqa_igpo.yaml --out rows.jsonl
gym env start "+config_paths=[resources_servers/searchqa_igpo/configs/searchqa_igpo.yaml,MODEL.yaml]" &
gym eval run --no-serve --agent searchqa_igpo_agent --input rows.jsonl --output rollouts.jsonl
"""

import argparse
import json
from pathlib import Path

from omegaconf import OmegaConf

from igpo_gym.adapters.nemo import dataset

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    servers = OmegaConf.to_container(OmegaConf.load(options.config))
    environment = servers["searchqa_igpo"]["resources_servers"]["searchqa_igpo"]["environment"]
    rows = dataset(**environment)
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} questions in {options.out}")
