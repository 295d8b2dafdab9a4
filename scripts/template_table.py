"""The table of docs/models.md: what ``igpo-gym check model`` finds in a folder of chat templates.

    python scripts/template_table.py FOLDER

prints it as Markdown, a row for all templates of which the same is found. FOLDER has ``*.jinja`` files, such
as ``chat_templates`` of an installed TRL. A template is checked with a tokenizer of single bytes that has the
control tokens that the template writes; the weights are not needed for it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from igpo_gym.hub import quiet
from igpo_gym.protocols import PROTOCOLS
from igpo_gym.scorers.check_model import check_model
from igpo_gym.scorers.findings import Finding

CONTROL = re.compile(
    r"<\|[^|<>\s]+\|>|<｜[^<>\s]+｜>|</?s>|<bos>|<sop>|\[gMASK\]|<(?:start|end)_of_(?:turn|utterance)>"
    r"|<\|?(?:turn|channel|tool_response|tool_call)\|>|<\|(?:turn|channel|tool_response|tool_call)>"
)
"""What the tokenizers of these templates have as control tokens; turn marks such as [INST] are plain text."""

COLUMNS = {
    "protocols": "protocols whose messages it has",
    "opens the agent's message": "the template opens the agent's message",
    "only adds": "the template itself only adds",
    "keeps thoughts": "the template keeps thoughts",
    "open thoughts": "open thoughts before the probe's sentence",
    "text spells turn marks": "retrieved text can spell the turn marks",
    "trained": "can be trained with IGPO",
}


def tokenizer_for(template: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes with the control tokens of a template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    made.add_tokens(list(dict.fromkeys(CONTROL.findall(template))), special_tokens=True)
    made.chat_template = template
    return made


def findings(template: str) -> list[Finding]:
    """What is found with the protocol that the template has all messages of, the first of three."""
    tokenizer = tokenizer_for(template)
    tried = [check_model(tokenizer, PROTOCOLS[name]) for name in ("tool_call", "tags-chat")]
    return next((found for found in tried if found[-1].good), tried[-1])


def row(found: list[Finding]) -> tuple[str, ...]:
    """The cells of a template, its name apart."""
    told = {line.what: line.found for line in found}
    cells = [told.get(what, "") for what in COLUMNS.values()]
    protocols = "all" if set(cells[0].split(", ")) == set(PROTOCOLS) else cells[0]
    opening = cells[1].replace("|", "\\|")
    trained = "yes" if found[-1].good else told.get("refused", cells[-1])
    return (protocols, f"`{opening}`", *map(_short, cells[2:-1]), trained)


def _short(cell: str) -> str:
    return cell.partition(";")[0].partition(" would")[0].replace("|", "\\|").replace("[", "\\[")


def main(folder: Path) -> None:
    """Print the table."""
    rows: dict[tuple[str, ...], list[str]] = {}
    with quiet():
        for file in sorted(folder.glob("*.jinja")):
            rows.setdefault(row(findings(file.read_text(encoding="utf-8"))), []).append(file.stem)
    print(f"| templates | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for cells, names in rows.items():
        print(f"| {', '.join(names)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
