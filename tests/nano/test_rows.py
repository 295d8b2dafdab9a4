from nano.playing import transcript_row
from nano.rows import Part


def test_weights_of_one_part_can_be_raised(episodes, encode):
    row = transcript_row(episodes[0], encode, ())
    raised = row.weighted(Part.ACT, 3.0)
    for before, after, part in zip(row.weights, raised.weights, row.parts, strict=True):
        assert after == before * (3.0 if part == Part.ACT else 1.0)
    for plain, branch in zip(row.branches, raised.branches, strict=True):
        factor = 3.0 if plain.part == Part.ACT else 1.0
        assert branch.weights == [weight * factor for weight in plain.weights]
