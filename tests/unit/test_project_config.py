"""Both YAML files: every mistake with its place, no secret, and a bad edit that changes nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from orchestrator.domain.configuration import Approval, OperatorConfig, RepositoryConfig
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.stages import AGENT_STAGES, Stage
from orchestrator.project_config import (
    GitRepositoryConfigs,
    LastGood,
    digest_of,
    example_operator_config,
    example_repository_config,
    operator_config_file,
    operator_config_of_fleet,
    operator_schema,
    parse_operator_config,
    parse_repository_config,
    repository_schema,
)

AGENTS = "".join(f"      {stage}: {{command: [agent]}}\n" for stage in AGENT_STAGES)
PROJECT = f"projects:\n  - key: SHOP\n    repository: /srv/shop.git\n    agents:\n{AGENTS}"


def operator(text: str) -> OperatorConfig:
    return parse_operator_config(text.encode(), "orchestrator.yml")


def repository(text: str) -> RepositoryConfig:
    return parse_repository_config(text.encode())


def problems(text: str, parse=operator) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return caught.value.problems


def only(text: str, parse=operator) -> str:
    found = problems(text, parse)
    assert len(found) == 1, found
    return found[0]


# --- good ones -------------------------------------------------------------------------------------------


def test_the_examples_are_good_configurations(tmp_path: Path) -> None:
    config = parse_operator_config(example_operator_config().encode(), str(tmp_path / "orchestrator.yml"))
    project = config.project("SHOP")
    assert project is not None
    assert project.repository == str(tmp_path / "repositories/shop.git")
    assert project.agent_for(Stage.REVIEW) is not None
    assert repository(example_repository_config()).deploys.keys() == {"staging", "production"}


def test_an_example_takes_commands_with_any_character() -> None:
    command = ("/opt/my agent", "it's", "--x=1", "{a: b}", "#no", "")
    config = operator(example_operator_config(agents=dict.fromkeys(AGENT_STAGES, command)))
    assert config.projects[0].agents[Stage.REVIEW].command == command


def test_what_is_not_written_has_its_default() -> None:
    project = operator(PROJECT).projects[0]
    assert (project.base_branch, project.concurrency, project.approval) == ("main", 1, Approval.NONE)
    assert operator(PROJECT).notifications.notifiers == ("log",)


def test_words_of_a_command_are_text_whatever_yaml_takes_them_for() -> None:
    assert repository("test: [timeout, 5, true, 1.50, no]").test == ("timeout", "5", "true", "1.50", "no")


def test_one_agent_can_be_named_for_several_stages() -> None:
    agents = "\n".join(f"      {stage}: *one" for stage in AGENT_STAGES[1:])
    text = f"projects:\n  - key: S\n    repository: /r\n    agents:\n      analysis: &one {{command: [a]}}\n{agents}\n"
    assert operator(text).projects[0].agents[Stage.TESTING].command == ("a",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/srv/x.git", "/srv/x.git"),
        ("x.git", "{here}/x.git"),
        ("../x.git", "{parent}/x.git"),
        ("https://forge/x.git", "https://forge/x.git"),
        ("git@forge:x.git", "git@forge:x.git"),
    ],
)
def test_a_path_of_a_repository_is_taken_from_the_folder_of_the_file(tmp_path: Path, written: str, meant: str) -> None:
    text = PROJECT.replace("/srv/shop.git", written)
    config = parse_operator_config(text.encode(), str(tmp_path / "orchestrator.yml"))
    assert config.projects[0].repository == meant.format(here=tmp_path, parent=tmp_path.parent)


def test_the_digest_is_that_of_the_bytes() -> None:
    one, two = repository("test: [a]"), repository("test: [a]  # comment")
    assert one.digest == digest_of(b"test: [a]")
    assert one.digest != two.digest


# --- bad ones --------------------------------------------------------------------------------------------


def test_all_mistakes_are_told_together_in_the_order_of_the_file() -> None:
    found = problems(
        PROJECT + "    aproval: none\n    concurrency: many\n    forge: 7\nnotifications: {notifiers: []}\n"
    )
    assert [line.split(": ")[1] for line in found] == [
        "projects[0].aproval",
        "projects[0].concurrency",
        "projects[0].forge",
        "notifications.notifiers",
    ]
    assert found[0].startswith("orchestrator.yml:10:5: ")
    assert "did you mean approval?" in found[0]
    assert "'many' is a text, allowed is a whole number" in found[1]
    assert 'quote it, "7"' in found[2]


def test_a_key_that_stands_twice_names_both_lines() -> None:
    assert only(PROJECT + "    forge: local\n    forge: local\n") == (
        "orchestrator.yml:11:5: projects[0].forge: stands here a second time, first in line 10: keep one"
    )


@pytest.mark.parametrize("word", ["on", "no", "Yes", "y"])
def test_a_key_that_yaml_readers_take_for_a_truth_value_is_refused(word: str) -> None:
    assert f"{word} as a key is read as a truth value" in only(f"test: [a]\n{word}: x\n", repository)


@pytest.mark.parametrize("word", ["no", "On", "yes"])
def test_a_word_that_yaml_readers_take_for_a_truth_value_is_refused(word: str) -> None:
    text = only(PROJECT + f"    tracker: {word}\n")
    assert f"'{word}' is a truth value for many YAML readers" in text
    assert f'quote it, "{word}"' in text
    assert "allowed is true or false" in only(f"test: [a]\ngates: {{allow_protected_changes: {word}}}", repository)


def test_a_quoted_word_is_a_word() -> None:
    assert operator(PROJECT.replace("key: SHOP", 'key: "NO"')).project("NO") is not None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("test: pytest -q", "'pytest -q' is a text, allowed is a list: [pytest, -q]"),
        ("test: []", "the command that tests the repository is needed"),
        ("test:", "is nothing, allowed is a list"),
        ("test: {a: b}", "is a mapping, allowed is a list"),
        ("test: [[a]]", "test[0]: this is a list, allowed is a text"),
        ("test: [a]\ngates: {timeout_s: 0}", "a number from 1 to 86400"),
        ("test: [a]\ngates: {timeout_s: 1.5}", "allowed is a whole number"),
        ("test: [a]\ngates: {timeout_s: true}", "'true' is a truth value, allowed is a whole number"),
        ("test: [a]\ngates: {coverage_tolerance: .nan}", "allowed is a number"),
        ("test: [a]\ngates: {coverage_tolerance: 1.0e+999}", "allowed is a number"),
        ("test: [a]\ngates: {coverage_tolerance: -1}", "a number from 0 to 100"),
        ("test: [a]\ngates: {coverage_report: ../x}", "inside it"),
        ("test: [a]\ngates: {ci: {source: gues}}", "allowed are run, statuses"),
        ("test: [a]\nimage: {files: [/etc/passwd], command: [b]}", "stay inside"),
        ("test: [a]\ndeploys: {prod: {command: [d], health_url: 'http://x'}}", "allowed are staging, production"),
        ("test: [a]\ndeploys: {staging: {command: [d]}}", "health_url: is missing"),
        ("test: [a]\ndeploys: {staging: {command: [d], health_url: 'ftp://x'}}", "http://"),
        ("test: [a]\nprompts: {reviw: x}", "did you mean review?"),
        ("test: [a]\ndigest: abc", "no such key"),
        ("lint: [a]", "test: is missing"),
    ],
)
def test_a_mistake_in_the_repository_names_its_place_and_what_is_allowed(line: str, says: str) -> None:
    text = only(line, repository)
    assert text.startswith(".orchestrator.yml:")
    assert says in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("SHOP", "-x"), "a letter first"),
        (("/srv/shop.git", "--upload-pack=x"), "address or path"),
        (("      review: {command: [agent]}\n", ""), "no agent is named for review"),
        (("review: {command: [agent]}", "review: {runtime: command}"), "command: is needed"),
        (("review: {command: [agent]}", "review: {command: [a], silence_s: 9000}"), "is more than wall_clock_s (3600)"),
        (("review: {", "deploy: {"), "projects[0].agents.deploy: no such key"),
    ],
)
def test_a_mistake_in_a_project_names_its_place_and_what_is_allowed(change: tuple[str, str], says: str) -> None:
    assert any(says in line for line in problems(PROJECT.replace(*change)))


def test_a_project_key_belongs_to_one_project() -> None:
    assert "the key SHOP is given to more than one project" in only(PROJECT + PROJECT.removeprefix("projects:\n"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"# nothing\n",
        b"a: [1\n",
        b"a: b: c",
        b"\tx: 1",
        b"\xff\xfe\xfa",
        b"a: \x00",
        b"a: *x",
        b"- a",
        b"a: 1\n---\nb: 2",
        b"[" * 5000,
    ],
)
def test_what_is_no_configuration_is_told_by_its_place(raw: bytes) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_repository_config(raw)
    assert caught.value.problems[0].startswith(".orchestrator.yml:")


def test_a_value_that_contains_itself_is_a_mistake_like_any_other() -> None:
    with pytest.raises(ConfigurationError):
        repository("test: &x [*x]\n")


@pytest.mark.parametrize(
    "line",
    [
        "    api_token: hunter2\n",
        "    repository: https://me:hunter2@forge/x.git\n",
        "    trusted_authors: [ghp_hunter2]\n",
        "    limits: {password: hunter2}\n",
    ],
)
def test_a_secret_is_refused_and_not_repeated(line: str) -> None:
    text = "\n".join(problems(PROJECT.replace("    repository: /srv/shop.git\n", "") + line))
    assert "secrets do not belong here" in text
    assert "hunter2" not in text


def test_a_secret_for_an_agent_is_refused_too() -> None:
    agent = "review: {command: [a], environment: {OPENAI_API_KEY: hunter2, MAX_TOKENS: '5'}}"
    text = only(PROJECT.replace("review: {command: [agent]}", agent))
    assert "environment.OPENAI_API_KEY" in text


# --- schema ----------------------------------------------------------------------------------------------


def test_the_schemas_take_the_examples_and_refuse_unknown_keys() -> None:
    for schema, example in (
        (operator_schema(), example_operator_config()),
        (repository_schema(), example_repository_config()),
    ):
        jsonschema.Draft202012Validator.check_schema(schema)
        data = YAML(typ="safe").load(example)
        jsonschema.validate(data, json.loads(json.dumps(schema)))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**data, "unknown": 1}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"test": ["a"], "deploys": {"prod": {}}}, repository_schema())


# --- a file that is edited while we run ------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orchestrator.yml"
    path.write_text(PROJECT)
    return path


def test_a_good_edit_is_taken(file: Path) -> None:
    followed = operator_config_file(file)
    assert followed.current()[0].projects[0].concurrency == 1
    file.write_text(PROJECT + "    concurrency: 2\n")
    config, problem = followed.current()
    assert (config.projects[0].concurrency, problem) == (2, None)


@pytest.mark.parametrize("edit", ["broken: [", "unknown: 1", "", None])
def test_a_bad_edit_keeps_the_last_good_one_and_tells_until_it_is_mended(file: Path, edit: str | None) -> None:
    followed = operator_config_file(file)
    followed.current()
    if edit is None:
        file.unlink()
    else:
        file.write_text(edit)
    for _again in range(2):
        config, problem = followed.current()
        assert config.project("SHOP") is not None
        assert problem is not None
        assert str(file) in problem.message
    file.write_text(PROJECT)
    assert followed.current()[1] is None


def test_a_file_that_was_never_good_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="orch init"):
        operator_config_file(tmp_path / "none.yml").current()


def test_a_fleet_without_a_file_has_no_project_until_one_is_written(tmp_path: Path) -> None:
    file = tmp_path / "orchestrator.yml"
    followed = operator_config_of_fleet(file)
    config, problem = followed.current()
    assert config.projects == ()
    assert problem is not None and "orch init" in str(problem)
    file.write_text("broken: [")
    with pytest.raises(ConfigurationError, match=r"orchestrator\.yml:1"):
        followed.current()
    file.write_text(PROJECT)
    config, problem = followed.current()
    assert (config.project("SHOP") is not None, problem) == (True, None)
    file.unlink()
    assert followed.current()[0].project("SHOP") is not None


def test_a_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yml").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        operator_config_of_fleet(tmp_path / "orchestrator.yml").current()


def test_an_unchanged_file_is_not_parsed_again(file: Path) -> None:
    parsed: list[bytes] = []

    def parse(raw: bytes, _file: str) -> int:
        parsed.append(raw)
        return len(parsed)

    followed = LastGood(file, parse)
    followed.current()
    followed.current()
    os.utime(file, (time.time() + 5, time.time() + 5))
    assert followed.current() == (1, None)


# --- the repository's file in git ------------------------------------------------------------------------


class Commits:
    """Only what a configuration needs of a workspace: files by commit."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.reads: list[str] = []

    def read_file(self, sha: str, path: str) -> bytes | None:
        self.reads.append(sha)
        return self.files.get(sha) if path == ".orchestrator.yml" else None


def test_the_configuration_is_that_of_the_commit_and_read_once() -> None:
    commits = Commits({"a" * 40: b"test: [one]", "b" * 40: b"test: [two]", "c" * 40: b"test: [one]"})
    configs = GitRepositoryConfigs(commits, "SHOP")  # type: ignore[arg-type]
    assert configs.at("a" * 40).test == ("one",)
    assert configs.at("b" * 40).test == ("two",)
    assert configs.at("a" * 40).test == ("one",)
    assert configs.at("c" * 40) is configs.at("a" * 40)
    assert len(commits.reads) == 3


def test_a_missing_file_is_told_with_an_example_that_works() -> None:
    with pytest.raises(ConfigurationError, match="SHOP") as caught:
        GitRepositoryConfigs(Commits({}), "SHOP").at("a" * 40)  # type: ignore[arg-type]
    assert repository(caught.value.remedy.split("for example:\n")[1]).test


def test_a_bad_file_names_project_commit_and_line() -> None:
    configs = GitRepositoryConfigs(Commits({"a" * 40: b"tset: [x]"}), "SHOP")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as caught:
        configs.at("a" * 40)
    assert caught.value.problems[0].startswith("SHOP@aaaaaaaaaaaa:.orchestrator.yml:1:1: ")
