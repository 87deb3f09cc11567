"""The pickle interpreter: results of harmless programs, rejection of hostile ones."""

import pickle

import pytest
from torch_files import GOOD, Call, Global, Raw, assert_rejected, torch_pickle

from wheatear.convert.checkpoints.pickle_machine import PickleMachine


def run(value):
    """Runs a pickle with stubs: names and persistent ids become tuples."""
    machine = PickleMachine(lambda *name: lambda *args: (*name, *args), lambda pid: ("id", pid))
    return machine.run(torch_pickle(value))


def test_containers_and_constants_are_returned():
    value = {"a": [1, 2.5, "x"], "b": (None, True, False), 3: ((), (1,), [[]], {})}
    assert run(value) == value


def test_calls_use_the_given_functions():
    assert run(Call("torch", "Size", 4)) == ("torch", "Size", 4)
    (kind, pid) = run(("storage", "FloatStorage", "0", 4))
    assert (kind, pid[0], pid[2:]) == ("id", "storage", ("0", "cpu", 4))


NESTED = b")" + b"\x85" * 200_000  # an empty tuple in a tuple in a tuple ...


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02}" + NESTED + b"K\x01s.",  # as a key: hashing it recurses
        b"\x80\x02}(" + NESTED + b"K\x01u.",
        b"\x80\x02ccollections\nOrderedDict\n]" + NESTED + b"K\x01\x86a\x85R.",
        b"\x80\x02(" + NESTED + b"\x90.",  # in a set
        b"\x80\x02" + NESTED + b"Q.",  # as a persistent id
    ],
)
def test_nested_tuples_are_rejected(program):
    assert_rejected(program)


@pytest.mark.parametrize("operation", [b"r\xff\xff\xff\x0f", b"r\xff\xff\xff\xff", b"p268435455\n"])
def test_large_memo_index_takes_no_memory(operation):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_rejected(b"\x80\x02}" + operation + b".")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02(.",
        b"\x80\x02a.",
        b"\x80\x02s.",
        b"\x80\x02u.",
        b"\x80\x02}K\x01.",
        b"\x80\x02h\x05.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02R.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02N}b.",
        b"\x80\x02X\xff\xff\xff\xffabc.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
        b"\x80\x02}2.",
        b"(i__main__\nx\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x05\x97.",
    ],
)
def test_program_that_torch_never_writes_is_rejected(program):
    assert_rejected(program)


def test_key_other_than_text_or_number_is_rejected():
    """Hashing any other key can run its code or exhaust the stack."""
    assert_rejected(torch_pickle({("a", "b"): GOOD}), "which is no name")
    assert_rejected(torch_pickle({1.5: GOOD}), "which is no name")


def test_ordered_dict_takes_no_arguments():
    made = Raw(Global("collections", "OrderedDict"), [("x", GOOD)], b"\x85", pickle.REDUCE)
    assert_rejected(torch_pickle(made), "damaged")
