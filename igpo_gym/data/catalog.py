"""What is known of every set: its spec, what its records look like, how many there are, and whose it is.

Sizes and licenses were written down from memory, and are not checked against what the owners say today.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A set that ``igpo-gym data list`` shows."""

    spec: str
    layout: str
    """What its files are, in short; the module's docstring has the fields."""
    size: str
    """Questions by split."""
    license: str
    owners: str
    """The public name under which they publish it."""
    protected: bool = False
    """Whether its texts are hidden in what is written."""


CATALOG = (
    KnownSet(
        "world[:SPLIT][#OPTIONS]",
        "generated: invented facts, questions of 1 to 4 hops, and their corpus",
        "any number; train, validation, test",
        "Apache-2.0",
        "this package",
    ),
    KnownSet(
        "nq:FILE",
        "JSON lines: question, answer (a list)",
        "train 87,925, dev 3,610 (NQ-open)",
        "CC BY-SA 3.0",
        "google-research-datasets/natural-questions",
    ),
    KnownSet(
        "triviaqa:FILE",
        "JSON: Data, a list of QuestionId, Question, Answer",
        "train 87,622, dev 11,313, test 10,832 (unfiltered)",
        "Apache-2.0",
        "mandarjoshi90/triviaqa",
    ),
    KnownSet(
        "popqa:FILE",
        "table with tabs: question, possible_answers (a JSON list)",
        "test 14,267",
        "see its owners",
        "AlexTMallen/adaptive-retrieval, on the hub akariasai/PopQA",
    ),
    KnownSet(
        "hotpotqa:FILE",
        "JSON: question, answer, supporting_facts, context; passages",
        "train 90,447, dev 7,405",
        "CC BY-SA 4.0",
        "hotpotqa/hotpot",
    ),
    KnownSet(
        "2wiki:FILE",
        "HotpotQA's fields, evidences, answer_id; id_aliases.json beside it",
        "train 167,454, dev 12,576",
        "Apache-2.0",
        "Alab-NII/2wikimultihop",
    ),
    KnownSet(
        "musique:FILE[#unanswerable=true]",
        "JSON lines: paragraphs, question_decomposition, answer_aliases; passages",
        "train 19,938, dev 2,417 (MuSiQue-Ans)",
        "CC BY 4.0",
        "StonyBrookNLP/musique",
    ),
    KnownSet(
        "squad:FILE[#unanswerable=true]",
        "JSON: data, articles of paragraphs with qas; or question, context, answers; passages",
        "train 87,599, dev 10,570 (1.1)",
        "CC BY-SA 4.0",
        "rajpurkar/SQuAD-explorer, in its form google-deepmind/xquad and others",
    ),
    KnownSet("bamboogle:FILE", "CSV: Question, Answer", "test 125", "see its owners", "ofirpress/self-ask"),
    KnownSet(
        "strategyqa:FILE",
        "JSON: qid, question, answer (true or false), decomposition, evidence",
        "train 2,061, dev 229",
        "MIT",
        "eladsegal/strategyqa",
    ),
    KnownSet(
        "fanoutqa:FILE",
        "JSON: answer (a dictionary, list, number or text), decomposition with pages",
        "dev 310",
        "CC BY-SA 4.0",
        "zhudotexe/fanoutqa",
    ),
    KnownSet(
        "simpleqa:FILE",
        "CSV: metadata (a Python dictionary), problem, answer",
        "test 4,326",
        "MIT",
        "openai/simple-evals",
    ),
    KnownSet(
        "frames:FILE",
        "table with tabs: Prompt, Answer, wiki_links (a Python list)",
        "test 824",
        "Apache-2.0",
        "on the hub google/frames-benchmark",
    ),
    KnownSet(
        "webwalkerqa:FILE",
        "JSON: question, answer, root_url, info with source_website",
        "main 680, silver 14,000 and more",
        "Apache-2.0",
        "on the hub callanwu/WebWalkerQA",
    ),
    KnownSet(
        "browsecomp:FILE",
        "CSV, encrypted: problem, answer, problem_topic, canary",
        "test 1,266",
        "MIT",
        "openai/simple-evals",
        protected=True,
    ),
    KnownSet(
        "browsecomp-plus:FILE",
        "parquet or JSON lines, encrypted: query_id, query, answer, evidence_docs",
        "test 830",
        "see its owners",
        "texttron/BrowseComp-Plus, on the hub Tevatron/browsecomp-plus",
        protected=True,
    ),
    KnownSet(
        "verl:FILE",
        "parquet: prompt, reward_model.ground_truth (target, or joined by <|answer_split|>), data_source",
        "as made",
        "that of its sources",
        "GAIR-NLP/DeepResearcher, PeterGriffinJin/Search-R1 and others",
    ),
    KnownSet(
        "flashrag:FILE",
        "JSON lines: question, golden_answers, metadata",
        "as made, 30 and more sets",
        "that of its sources",
        "on the hub RUC-NLPIR/FlashRAG_datasets",
    ),
    KnownSet(
        "jsonl:FILE", "JSON lines: question, answers, and id, evidence, hops, source", "yours", "", "you"
    ),
    KnownSet(
        "csv:FILE", "CSV or tabs: question, answer or answers, and id, hops, source", "yours", "", "you"
    ),
    KnownSet(
        "hf:NAME[:CONFIG][:SPLIT]",
        "any of these layouts, through the datasets library",
        "its own",
        "its own",
        "the Hugging Face hub, or a folder",
    ),
)
"""The sets in the order of the table."""
