"""BM25 search over an index that is built once, saved, and mapped into memory when it is loaded.

>>> from igpo_gym.episode import Passage
>>> passages = [Passage("0", "Günter Grass", "wrote The Tin Drum"), Passage("1", "Gdańsk", "a city")]
>>> index = BM25Index.build(passages)
>>> [[passage.title for passage in found] for found in index.search(["who wrote The Tin Drum", "city"], k=2)]
[['Günter Grass'], ['Gdańsk']]
"""

from igpo_gym.search.bm25.folder import FORMAT
from igpo_gym.search.bm25.index import MAX_WORDS, BM25Index
from igpo_gym.words import words

__all__ = ["FORMAT", "MAX_WORDS", "BM25Index", "words"]
