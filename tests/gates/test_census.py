"""What a Python test is worth."""

from __future__ import annotations

from textwrap import dedent

import pytest

from orchestrator.gates.census import Worth, census_of


def worth_of(source: str) -> list[Worth]:
    tests = census_of("test_x.py", dedent(source))
    assert tests is not None
    return [one.worth for one in tests]


@pytest.mark.parametrize(
    "body",
    [
        "assert one() == 1",
        "with pytest.raises(ValueError): one()",
        "self.assertEqual(one(), 1)",
        "if one() != 1: raise AssertionError",
        "mock.assert_called_once()",
        "for x in y:\n        assert x",
        "_check(one())",
        "helper()",
    ],
)
def test_a_test_asserts_in_many_ways(body: str) -> None:
    assert worth_of(f"def helper():\n    assert 1 == one()\ndef test_it():\n    {body}\n") == [Worth.ASSERTS]


def test_a_test_that_only_calls_something_runs() -> None:
    assert worth_of("def test_it():\n    one()\n") == [Worth.RUNS]


@pytest.mark.parametrize(
    "source",
    [
        "def test_it():\n    pass\n",
        'def test_it():\n    """It works."""\n',
        "def test_it():\n    assert True\n",
        "def test_it():\n    pytest.skip('later')\n    assert one()\n",
        "def test_it():\n    return\n    assert one()\n",
        "@pytest.mark.skip\ndef test_it():\n    assert one()\n",
        "@pytest.mark.skipif(True, reason='x')\ndef test_it():\n    assert one()\n",
        "@pytest.mark.xfail(strict=False)\nasync def test_it():\n    assert one()\n",
        "@unittest.skip('x')\nclass TestIt:\n    def test_it(self):\n        assert one()\n",
        "class TestIt:\n    __test__ = False\n    def test_it(self):\n        assert one()\n",
        "pytestmark = [pytest.mark.skip]\ndef test_it():\n    assert one()\n",
        "pytest.skip('x', allow_module_level=True)\ndef test_it():\n    assert one()\n",
    ],
)
def test_a_test_that_is_empty_or_skipped_is_worth_nothing(source: str) -> None:
    assert worth_of(source) == [Worth.NOTHING]


def test_tests_stand_at_the_top_and_in_classes_but_not_inside_functions() -> None:
    source = """
        def test_one(): assert one()
        class TestMore:
            class TestInner:
                def test_two(self): assert one()
        def other():
            def test_three(): assert one()
    """
    tests = census_of("test_x.py", dedent(source)) or []
    assert [one.name for one in tests] == ["test_one", "test_two"]


def test_the_same_body_is_known_under_another_name() -> None:
    one, other, third = (
        census_of("a.py", "def test_a(): assert x\ndef test_b(): assert x\ndef test_c(): assert y") or []
    )
    assert one.body == other.body != third.body


def test_a_file_that_does_not_parse_has_no_census() -> None:
    assert census_of("a.py", "def test_a(:\n") is None
