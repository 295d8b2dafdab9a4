"""Print what the recipe of an agent loop's file sets, as overrides of verl's configuration, a line each.

python -m igpo_gym.adapters.verl AGENT_LOOP.yaml
"""

import sys

from omegaconf import OmegaConf

from igpo_gym.adapters.verl.published import overrides

if __name__ == "__main__":
    (loop,) = OmegaConf.to_container(OmegaConf.load(sys.argv[1]))
    print(*overrides(loop["recipe"], loop.get("settings", {})), sep="\n")
