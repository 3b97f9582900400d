"""Rotation of files that a service has open."""

from __future__ import annotations

from pathlib import Path

from orchestrator.fleet.log_files import rotate, telling_line


def test_a_writer_that_appends_goes_on_in_the_emptied_file(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("a") as writer:
        for line in ("one", "two", "three", "four", "five"):
            writer.write(f"{line}\n")
            writer.flush()
            assert rotate(log, limit_bytes=1)
        writer.write("six\n")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"web.log": "six\n", "web.log.1": "five\n", "web.log.2": "four\n", "web.log.3": "three\n"}


def test_a_small_or_missing_file_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    assert not rotate(log)
    log.write_text("a line\n")
    assert not rotate(log)


def test_the_telling_line_is_the_last_that_names_an_error_else_the_last_with_text(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    assert telling_line(log) == "it wrote nothing"
    log.write_bytes(b"first\nlast \xff words\n\n  \n")
    assert telling_line(log) == "last \N{REPLACEMENT CHARACTER} words"
    log.write_text("FATAL:  could not create lock file\nLOG:  database system is shut down\n")
    assert telling_line(log) == "FATAL:  could not create lock file"
    log.write_text("Traceback\n  File\nsqlalchemy.exc.OperationalError: refused\nbye\n")
    assert telling_line(log) == "sqlalchemy.exc.OperationalError: refused"


def test_what_an_earlier_process_wrote_tells_nothing(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("FATAL: long ago\n")
    since = log.stat().st_size
    with log.open("a") as writer:
        writer.write("stopped\n")
    assert telling_line(log, since) == "stopped"
    log.write_text("x\n")
    assert telling_line(log, since) == "x"
