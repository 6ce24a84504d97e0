import torch

from calligram.nn.native import memory


def test_a_tensor_in_large_pages_is_as_any_other():
    large = memory.empty((3, memory.PAGE // 4, 2))
    assert large.shape == (3, memory.PAGE // 4, 2) and large.is_contiguous() and large.dtype == torch.float32
    large.fill_(2)
    assert large.sum() == 3 * memory.PAGE
    assert memory.empty((0, 4)).shape == (0, 4)


def test_copies_lie_side_by_side_and_keep_their_numbers():
    arena, made = memory.Arena(), []
    for number in range(30):
        x = torch.full((number % 7 + 1, 500_000), number, dtype=(torch.float32, torch.int8, torch.uint16)[number % 3])
        made.append((x, arena.copy(x.T)))
    for x, copy in made:
        assert torch.equal(copy, x.T) and copy.is_contiguous() and copy.data_ptr() % memory.LINE == 0


def test_one_that_is_larger_than_a_piece_gets_its_own():
    x = torch.arange(memory.CHUNK // 4 + 10, dtype=torch.int32)
    assert torch.equal(memory.Arena().copy(x), x)
