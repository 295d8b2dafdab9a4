"""The environment of Atropos, with its command line: ``serve``, ``process`` and ``evaluate``.

    run-api &                                                # Atropos' own server; a trainer registers there
    python examples/atropos_env.py serve --env.questions world --env.scorer nano \\
        --env.tokenizer_name MODEL --openai.model_name MODEL \\
        --openai.server_type vllm --openai.base_url http://localhost:9001/v1

``process`` needs no trainer: it writes groups to ``--env.data_path_to_save_groups``.
"""

from igpo_gym.adapters.atropos import SearchQA

if __name__ == "__main__":
    SearchQA.cli()
