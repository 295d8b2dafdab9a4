"""The environment as a server of NeMo Gym, which starts it: see the configuration beside this file."""

from igpo_gym.adapters.nemo import SearchQAServer

if __name__ == "__main__":
    SearchQAServer.run_webserver()
