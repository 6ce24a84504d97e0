import json

import pytest
import torch

from calligram.clip.label_tree import flat, parse_tree
from calligram.errors import UserError

ANIMALS = '{"animal": ["cat", {"dog": ["poodle", "beagle"]}], "vehicle": ["car"]}'


def test_a_group_is_as_probable_as_its_leaves_together():
    tree = parse_tree(json.loads(ANIMALS))
    assert tree.leaves == ("cat", "poodle", "beagle", "car")
    assert [(group.name, group.depth, group.leaves) for group in tree.groups] == [
        ("animal", 0, (0, 1, 2)),
        ("dog", 1, (1, 2)),
        ("vehicle", 0, (3,)),
    ]
    found = tree.group_probabilities(torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.5, 0.4], [1.0, 0.0, 0.0]]))


def test_lists_are_trees_without_groups():
    assert flat(["a", "b", "a"]).leaves == ("a", "b")
    assert parse_tree(["a", " b "]) == flat(["a", "b"])
    assert parse_tree(["a", {"x": ["b"]}]).groups[0].leaves == (1,)
    assert flat(["a", "b"]).group_probabilities(torch.ones(3, 2)).shape == (3, 0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('["a", "a"]', "the label 'a' stands twice"),
        ('{"a": ["a"]}', "the label 'a' stands twice"),
        ('{"a": []}', "the group 'a' has no labels"),
        ('{"a": 3}', "'3' is not a list of labels: write JSON like"),
        ('{"a": "b"}', "'b' is not a list of labels"),
        ("3", "'3' is not a list of labels"),
        ('["a", 3]', "'3' is neither a label nor a group"),
        ('[" "]', "a label of the tree is empty"),
    ],
)
def test_bad_trees_are_one_line(text, line):
    with pytest.raises(UserError) as caught:
        parse_tree(json.loads(text))
    assert str(caught.value).startswith(line)
