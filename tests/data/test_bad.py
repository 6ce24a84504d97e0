import pytest

from calligram.data.bad import CHECKSUM, PICTURE, Ledger, Replaced
from calligram.errors import UserError

BAD = Replaced(PICTURE, "sample 7 of a.tar: damaged")


def test_a_few_bad_samples_are_put_up_with():
    ledger = Ledger(max_share=0.01)
    for _ in range(300):
        ledger.add([None] * 99 + [BAD])
    assert ledger.replaced == 300 and ledger.delivered == 30_000
    assert ledger.report().startswith("300 x picture; the first: sample 7 of a.tar: damaged; `calligram data verify`")


def test_the_share_counts_from_ten_thousand_samples_on():
    ledger = Ledger(max_share=0.01)
    for _ in range(10):
        ledger.add([None, BAD] * 10)  # half of them
    with pytest.raises(UserError, match=r"101 of 202 samples were bad, more than 1\.0%: 101 x picture; the first"):
        ledger.add([None, BAD])


def test_none_is_allowed_where_none_is_allowed():
    with pytest.raises(UserError, match=r"1 of 1 samples were bad, more than 0\.0%"):
        Ledger(max_share=0).add([BAD])


def test_a_row_is_counted_across_batches_and_broken_by_a_good_sample():
    ledger = Ledger(max_share=1, max_in_a_row=5)
    ledger.add([BAD] * 4)
    ledger.add([None, BAD, BAD])
    with pytest.raises(UserError, match="5 bad samples in a row: 9 x picture"):
        ledger.add([BAD, BAD, BAD])


def test_the_share_of_all_processes_counts():
    ledger = Ledger(max_share=0.01)
    ledger.add([Replaced(CHECKSUM, "x")])
    ledger.check(100, 10_000)
    with pytest.raises(UserError, match="101 of 10,000"):
        ledger.check(101, 10_000)
