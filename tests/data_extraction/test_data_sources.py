"""Promises about where KANJIDIC2 comes from."""

from __future__ import annotations

import functools
import gzip
import http.server
import threading

import pytest

import data_fixtures
import sources
from errors import UserError


@pytest.fixture
def closed(monkeypatch):
    """Every way to KANJIDIC2 is closed; a test opens the one it is about."""

    def unavailable(folder):
        raise sources._UnavailableError("closed")

    for name in ("_from_edrdg", "_installed", "_from_debian"):
        monkeypatch.setattr(sources, name, unavailable)


def put(folder, literals="水火木"):
    return data_fixtures.write_kanjidic(folder / "found.xml.gz", literals), "found by the test"


def test_a_named_file_comes_first(tmp_path, closed):
    path = data_fixtures.write_kanjidic(tmp_path / "mine.xml", "水")
    found, source = sources.find_kanjidic(path, tmp_path / "cache")
    assert found == path
    assert (source.name, source.version, source.date) == ("KANJIDIC2", "2026-001", "2026-01-01")
    assert not (tmp_path / "cache").exists()


def test_the_hash_is_of_the_xml_however_it_is_packed(tmp_path):
    plain = data_fixtures.write_kanjidic(tmp_path / "a.xml", "水")
    packed = data_fixtures.write_kanjidic(tmp_path / "b.xml.gz", "水")
    assert sources.describe_kanjidic(plain, "").sha256 == sources.describe_kanjidic(packed, "").sha256


def test_what_was_fetched_is_kept_and_used_again(tmp_path, closed, monkeypatch):
    monkeypatch.setattr(sources, "_from_debian", put)
    first, source = sources.find_kanjidic(None, tmp_path / "cache")
    monkeypatch.setattr(sources, "_from_debian", None)
    again, kept = sources.find_kanjidic(None, tmp_path / "cache")
    assert first == again
    assert source.manifest_entry() == kept.manifest_entry()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["kanjidic2.xml.gz"]


@pytest.mark.parametrize("open_way", ["_from_edrdg", "_installed", "_from_debian"])
def test_each_way_serves_when_the_others_are_closed(tmp_path, closed, monkeypatch, open_way):
    monkeypatch.setattr(sources, open_way, put)
    assert sources.find_kanjidic(None, tmp_path)[1].origin == "found by the test"


def test_a_damaged_copy_in_the_cache_is_fetched_again(tmp_path, closed, monkeypatch):
    monkeypatch.setattr(sources, "_from_debian", put)
    path, _ = sources.find_kanjidic(None, tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    sources.find_kanjidic(None, tmp_path)
    assert path.read_bytes() == whole


def test_a_sign_in_page_instead_of_the_file_is_not_kept(tmp_path, closed, monkeypatch):
    def portal(folder):
        (folder / "page.gz").write_bytes(gzip.compress(b"<html>Please sign in</html>"))
        return folder / "page.gz", "portal"

    monkeypatch.setattr(sources, "_from_edrdg", portal)
    monkeypatch.setattr(sources, "_from_debian", put)
    assert sources.find_kanjidic(None, tmp_path)[1].origin == "found by the test"


def test_when_none_can_be_had_one_message_says_the_addresses_and_the_flag(tmp_path, closed):
    with pytest.raises(UserError) as error:
        sources.find_kanjidic(None, tmp_path)
    for part in (sources.KANJIDIC_URL, sources.DEBIAN_PACKAGE, "--kanjidic", "EDRDG", "Debian"):
        assert part in str(error.value)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, closed, monkeypatch):
    monkeypatch.setattr(sources, "_from_debian", put)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--kanjidic"):
        sources.find_kanjidic(None, tmp_path / "file")


def test_a_missing_named_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.xml: no such file"):
        sources.find_kanjidic(tmp_path / "none.xml", tmp_path)


# ---------------------------------------------------------------- fetching


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of our own in the place of EDRDG's; the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        monkeypatch.setattr(sources, "KANJIDIC_URL", f"http://127.0.0.1:{httpd.server_port}/kanjidic2.xml.gz")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield folder
        httpd.shutdown()


def test_edrdgs_file_is_fetched(tmp_path, server):
    expected = data_fixtures.write_kanjidic(server / "kanjidic2.xml.gz", "水火").read_bytes()
    (tmp_path / "to").mkdir()
    path, origin = sources._from_edrdg(tmp_path / "to")
    assert path.read_bytes() == expected
    assert sources.KANJIDIC_URL in origin


def test_a_server_without_the_file_closes_that_way_only(tmp_path, server):
    with pytest.raises(sources._UnavailableError, match="not reachable"):
        sources._from_edrdg(tmp_path)


def test_the_debian_package_is_unpacked_without_root(tmp_path, monkeypatch):
    """With commands of our own in the place of apt-get and dpkg-deb: the first fetch fails for want of lists."""
    commands = []

    def run(command, folder):
        commands.append(command)
        if command[0] == "apt-get" and "download" in command:
            if len(commands) == 1:
                raise sources._UnavailableError("no lists")
            (folder / "kanjidic-xml_2022_all.deb").touch()
        if command[0] == "dpkg-deb":
            target = folder / "unpacked" / sources.DEBIAN_FILE.relative_to("/")
            target.parent.mkdir(parents=True)
            data_fixtures.write_kanjidic(target, "水")

    monkeypatch.setattr(sources, "_run", run)
    monkeypatch.setattr(sources.shutil, "which", lambda name: f"/usr/bin/{name}")
    path, origin = sources._from_debian(tmp_path)
    assert sources.describe_kanjidic(path, origin).date == "2026-01-01"
    assert [command[0] for command in commands] == ["apt-get", "apt-get", "apt-get", "dpkg-deb"]
    assert all(any(str(tmp_path) in word for word in command) for command in commands[1:3])  # lists of our own


def test_a_command_that_fails_closes_that_way_with_its_reason(tmp_path):
    with pytest.raises(sources._UnavailableError, match="no-such-command"):
        sources._run(["no-such-command"], tmp_path)
    with pytest.raises(sources._UnavailableError, match="E: it broke"):
        sources._run(["sh", "-c", "echo 'E: it broke' >&2; exit 1"], tmp_path)
