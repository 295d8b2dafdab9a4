from random import Random

from igpo_gym.data.world import World
from nano.presenting import Arrangement, stated


def test_a_shortened_document_keeps_what_decides_the_question():
    world = World(seed=2, hops=(1, 3), questions=60)
    for question in world.all_questions():
        deciding = stated(world, question)
        assert set(deciding) == set(question.evidence)
        passages = [world.passage(int(number)) for number in question.evidence]
        shown = Arrangement(deciding, Random(0), brief=True, shuffle=True)(passages)
        assert {passage.id for passage in shown} == set(question.evidence)
        for passage in shown:
            assert deciding[passage.id] in passage.text
            sentences = world.passage(int(passage.id)).text.removesuffix(".").split(". ")
            assert set(passage.text.removesuffix(".").split(". ")) <= set(sentences)
