"""Downloads from a server on this machine that behaves, or does not. No other network."""

import gzip
import hashlib
import http.server
import io
import json
import re
import resource
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections import namedtuple
from typing import get_args, get_type_hints

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from munit_lite import commands
from munit_lite.config import DataConfig
from munit_lite.data import fetch as fetching
from munit_lite.data.downloads import ARCHIVES, Archive, download
from munit_lite.data.fetch import fetch
from munit_lite.data.folder_layout import find_dataset_files
from munit_lite.data.image_files import DataError
from munit_lite.storage.files import StorageError


def picture(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 64, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


FILES = {f"train/{k}_AB.png": picture(k) for k in range(6)} | {f"val/{k}_AB.png": picture(k) for k in (7, 8)}


def packed(files, top="edges2shoes", *, extra=()):
    """A tar.gz of files in a folder, and of further members as they are."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return file.getvalue()


GOOD = packed(FILES)


class Server(http.server.ThreadingHTTPServer):
    """Sends `content`, with ranges and conditions as RFC 9110 has them, unless a test makes it misbehave.

    `cut_after`: for each request in turn, bytes of the body after which the connection is cut (None: the whole).
    """

    content, tag, ranges, status, states_length, silent = GOOD, '"1"', True, 200, True, 0.0
    date = "Sun, 02 Sep 2018 08:58:00 GMT"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges_requested, self.cut_after, self.url = (
            [],
            [],
            f"http://127.0.0.1:{self.server_port}/edges2shoes.tar.gz",
        )

    def handle_error(self, request, client_address):
        pass  # a client that has gone


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.ranges_requested.append(self.headers.get("Range"))
        if server.status != 200:
            return self.send_error(server.status)
        first, body = 0, server.content
        requested = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if requested and server.ranges and self.headers["If-Range"] in (server.tag, server.date):
            first = int(requested[1])
            body = body[first:]
        self.send_response(206 if first else 200)
        for name, value in (("ETag", server.tag), ("Last-Modified", server.date)):
            if value:
                self.send_header(name, value)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        if server.states_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = server.cut_after.pop(0) if server.cut_after else None
        self.wfile.write(body[:cut])
        self.wfile.flush()
        time.sleep(server.silent)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetching, "RETRY_DELAY", 0.01)
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setitem(ARCHIVES, "edges2shoes", Archive(server.url, 0))
        yield server
        server.shutdown()


def left(root):
    """Names of all that lies in the data root but the lock."""
    return sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))


def is_whole(root):
    files = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in (root / "edges2shoes").rglob("*") if p.is_file()}
    return files == FILES and left(root) == ["edges2shoes", "edges2shoes.tar.gz.sha256"]


# ------------------------------------------------------------------------------------------------------- good


def test_a_data_set_is_downloaded_unpacked_and_ready_to_train_on(server, tmp_path, capsys):
    root = tmp_path / "new" / "root"
    assert download("edges2shoes", root) == root / "edges2shoes" and is_whole(root)
    sets = find_dataset_files(DataConfig(folder="edges2shoes"), root)
    assert (len(sets.train[0].files), sets.train[1].half, len(sets.test[0].files), sets.paired) == (3, "right", 2, True)
    assert "edges2shoes.tar.gz: 100%" in capsys.readouterr().err


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
    download("edges2shoes", tmp_path)
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == [None]


def test_an_archive_that_lies_in_the_data_root_is_unpacked_without_the_network(server, tmp_path):
    (tmp_path / "edges2shoes.tar.gz").write_bytes(GOOD)
    download("edges2shoes", tmp_path)
    assert is_whole(tmp_path) and server.ranges_requested == []


def test_the_checksum_of_the_first_download_is_kept_as_sha256sum_writes_it_and_asked_of_later_ones(server, tmp_path):
    download("edges2shoes", tmp_path)
    pin = tmp_path / "edges2shoes.tar.gz.sha256"
    assert pin.read_text() == f"{hashlib.sha256(GOOD).hexdigest()}  edges2shoes.tar.gz\n"
    (tmp_path / "edges2shoes.tar.gz").write_bytes(GOOD)
    assert subprocess.run(["sha256sum", "--check", "--strict", pin.name], cwd=tmp_path, check=False).returncode == 0
    (tmp_path / "edges2shoes.tar.gz").unlink()

    shutil.rmtree(tmp_path / "edges2shoes")
    server.content = packed(FILES | {"train/9_AB.png": picture(9)})
    with pytest.raises(DataError, match=r"has the sha256 \w{64}, but the first download had \w{64}: it is damaged, or"):
        download("edges2shoes", tmp_path)
    assert not (tmp_path / "edges2shoes").exists()
    pin.unlink()
    download("edges2shoes", tmp_path)
    assert (tmp_path / "edges2shoes" / "train" / "9_AB.png").exists()


# --------------------------------------------------------------------------------------------- broken connections


def test_a_connection_interrupted_many_times_resumes_where_it_stopped(server, tmp_path):
    server.cut_after = [1000, 0, 0, 2000, 5, 0, 0, 0, 300]  # more breaks than tries, but never as many in a row
    download("edges2shoes", tmp_path)
    starts = [0 if header is None else int(header[6:-1]) for header in server.ranges_requested]
    assert starts == [0, 1000, 1000, 1000, 3000, 3005, 3005, 3005, 3005, 3305] and is_whole(tmp_path)


def test_a_second_command_resumes_where_the_first_gave_up(server, tmp_path):
    server.cut_after = [5000] + [0] * fetching.MAX_ATTEMPTS
    with pytest.raises(
        DataError, match=r"the connection was interrupted; 5,000 bytes are kept in .*partial: try again"
    ):
        download("edges2shoes", tmp_path)
    assert not (tmp_path / "edges2shoes").exists()
    server.ranges_requested.clear()
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == ["bytes=5000-"] and is_whole(tmp_path)


def test_a_whole_file_whose_placing_was_interrupted_is_not_downloaded_again(server, tmp_path):
    partial, note = tmp_path / ".edges2shoes.tar.gz.partial", tmp_path / ".edges2shoes.tar.gz.json"
    partial.write_bytes(GOOD)
    note.write_text(json.dumps({"total": len(GOOD), "version": '"1"'}))
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == [] and is_whole(tmp_path)


@pytest.mark.parametrize("change", [
    {"ranges": False},
    {"tag": '"2"', "date": "Mon, 03 Sep 2018 00:00:00 GMT"},  # the file changed between two tries
    {"tag": None, "date": None},  # no way to know whether it has
    {"tag": 'W/"1"', "date": None},
])  # fmt: skip
def test_a_download_that_cannot_resume_starts_again(server, tmp_path, change):
    for name in ("tag", "date") if "tag" in change and not change["date"] else ():
        setattr(server, name, change[name])  # already so at the first try
    other = packed({name: content[::-1] for name, content in FILES.items()})
    server.content, server.cut_after = other, [5000] + [0] * fetching.MAX_ATTEMPTS
    with pytest.raises(DataError, match="interrupted"):
        download("edges2shoes", tmp_path)
    for name, value in change.items():
        setattr(server, name, value)
    server.content = GOOD
    download("edges2shoes", tmp_path)
    assert is_whole(tmp_path)


def test_a_refused_try_leaves_no_part_of_an_old_version_under_the_new_ones_name(server, tmp_path, monkeypatch):
    server.cut_after = [5000] + [0] * fetching.MAX_ATTEMPTS
    with pytest.raises(DataError, match="interrupted"):
        download("edges2shoes", tmp_path)
    server.tag, server.date = '"2"', "Mon, 03 Sep 2018 00:00:00 GMT"
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(0, 0, 0))
        with pytest.raises(DataError, match="GB free"):
            download("edges2shoes", tmp_path)
    server.ranges_requested.clear()
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == [None] and is_whole(tmp_path)


def test_only_the_date_of_the_last_change_serves_too(server, tmp_path):
    server.tag, server.cut_after = None, [5000]
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == [None, "bytes=5000-"] and is_whole(tmp_path)


def test_a_server_that_cannot_resume_and_always_interrupts_is_given_up(server, tmp_path):
    server.ranges, server.cut_after = False, [5000] * 50
    with pytest.raises(DataError, match="the connection was interrupted"):
        download("edges2shoes", tmp_path)
    assert len(server.ranges_requested) == fetching.MAX_ATTEMPTS + 1


def test_a_range_that_was_not_requested_is_not_used(server, tmp_path, monkeypatch):
    server.cut_after = [5000]
    monkeypatch.setattr(Handler, "send_header", shifted(Handler.send_header))
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == [None, "bytes=5000-", None] and is_whole(tmp_path)


def shifted(send):
    return lambda self, name, value: send(self, name, value.replace("bytes 5000-", "bytes 4000-"))


def test_a_file_of_unknown_length_is_downloaded(server, tmp_path):
    server.states_length = False
    download("edges2shoes", tmp_path)
    assert is_whole(tmp_path)


def test_a_truncated_file_of_unknown_length_fails_its_own_checksum(server, tmp_path):
    server.states_length, server.cut_after = False, [len(GOOD) - 4]
    with pytest.raises(DataError, match=r"edges2shoes\.tar\.gz cannot be used: .*end.*\. It was removed; run again"):
        download("edges2shoes", tmp_path)
    assert left(tmp_path) == []
    download("edges2shoes", tmp_path)
    assert is_whole(tmp_path)


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (410, 1), (500, 5), (503, 5), (429, 5)])
def test_a_server_that_refuses_is_quoted(server, tmp_path, status, requests):
    server.status = status
    phrase = http.HTTPStatus(status).phrase
    with pytest.raises(DataError, match=f"cannot download {server.url}: the server answers {status} {phrase}; try"):
        download("edges2shoes", tmp_path)
    assert len(server.ranges_requested) == requests and left(tmp_path) == []


@pytest.mark.parametrize("after", [0, 700])
def test_a_silent_server_is_given_up_in_time(server, tmp_path, monkeypatch, after):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    monkeypatch.setattr(fetching, "MAX_ATTEMPTS", 2)
    server.silent, server.cut_after = 1.5, [after, 0, 0]
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"the server sent nothing for 0\.2 seconds"):
        download("edges2shoes", tmp_path)
    assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_a_slow_server_is_waited_for_as_long_as_bytes_come(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 1.0)

    def trickle(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        for start in range(0, len(GOOD), len(GOOD) // 8):
            self.wfile.write(GOOD[start : start + len(GOOD) // 8])
            self.wfile.flush()
            time.sleep(0.25)  # more than the limit in all, never at once

    monkeypatch.setattr(Handler, "do_GET", trickle)
    download("edges2shoes", tmp_path)
    assert is_whole(tmp_path)


def test_no_server_at_all_is_reported(tmp_path, monkeypatch, server):
    monkeypatch.setitem(ARCHIVES, "edges2shoes", Archive("http://127.0.0.1:9/edges2shoes.tar.gz", 0))
    with pytest.raises(DataError, match=r"cannot download http://\S+: no connection to 127\.0\.0\.1; try again later"):
        download("edges2shoes", tmp_path)


# ------------------------------------------------------------------------------------------------ bad archives


def member(name, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    entry.size = 5 if kind == tarfile.REGTYPE else 0
    return entry


def changed(content):
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 255 for byte in content[middle : middle + 9]) + content[middle + 9 :]


BAD = {  # archive: (content, message)
    "a page of HTML": (b"<html>Log in to the network</html>", "Not a gzipped file"),
    "changed bytes": (changed(GOOD), "(CRC check failed|Error -3)"),
    "another checksum at the end": (GOOD[:-8] + b"1234" + GOOD[-4:], "CRC check failed"),
    "truncated": (GOOD[: len(GOOD) // 2], "ended before the end-of-stream marker"),
    "no tar": (gzip.compress(b"hello" * 1000), "invalid header"),
    "of another set": (packed(FILES, "edges2handbags"), "it contains no edges2shoes/train"),
    "a path that leads out": (packed(FILES, extra=[member("edges2shoes/../../../escaped.txt")]), "outside"),
    "an absolute link": (packed(FILES, extra=[member("edges2shoes/l", tarfile.SYMTYPE, "/etc")]), "absolute path"),
    "a link that leads out": (packed(FILES, extra=[member("edges2shoes/l", tarfile.SYMTYPE, "../../..")]), "outside"),
    "a hard link that leads out": (packed(FILES, extra=[member("edges2shoes/l", tarfile.LNKTYPE, "../x")]), "outside"),
    "a device": (packed(FILES, extra=[member("edges2shoes/d", tarfile.CHRTYPE)]), "special file"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_archive_is_refused_and_leaves_nothing_behind(server, tmp_path, kind):
    root = tmp_path / "a" / "b" / "root"
    server.content, message = BAD[kind]
    with pytest.raises(DataError, match=rf"(?s)edges2shoes\.tar\.gz cannot be used: .*{message}.*It was removed"):
        download("edges2shoes", root)
    assert left(root) == [] and [p.name for p in tmp_path.rglob("*")] == ["a", "b", "root", ".edges2shoes.lock"]
    server.content = GOOD  # and the bad one is not taken for the first download
    download("edges2shoes", root)
    assert is_whole(root)


def test_an_absolute_path_is_unpacked_below_the_data_set_or_not_at_all(server, tmp_path):
    server.content = packed(FILES, extra=[member(str(tmp_path / "escaped.txt"))])
    download("edges2shoes", tmp_path / "root")
    assert not (tmp_path / "escaped.txt").exists() and is_whole(tmp_path / "root")


# ----------------------------------------------------------------------------------------------------- the disk


def limited(after):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [9000, 6000])
def test_a_full_disk_is_reported_and_the_download_resumes_later(server, tmp_path, monkeypatch, room):
    assert len(GOOD) > 9000 and max(map(len, FILES.values())) > 6000 > 3000
    if room == 6000:  # the archive is there, the pictures do not fit
        (tmp_path / "edges2shoes.tar.gz").write_bytes(GOOD)
    monkeypatch.setattr(fetching, "CHUNK_SIZE", 1000)
    free = limited(room)
    try:
        with pytest.raises(StorageError, match=r"cannot write .*: File too large \(.* kept\); free some space"):
            download("edges2shoes", tmp_path)
    finally:
        free()
    assert not (tmp_path / "edges2shoes").exists() and not (tmp_path / ".edges2shoes.unpacking").exists()
    server.ranges_requested.clear()
    download("edges2shoes", tmp_path)
    assert is_whole(tmp_path) and server.ranges_requested == ([] if room == 6000 else ["bytes=9000-"])


def test_too_little_disk_space_is_reported_before_the_first_byte(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(0, 0, 2 * len(GOOD) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(
        DataError, match=r"the archive and its images need 0\.0 GB, but .* has only 0\.0 GB free; free some"
    ):
        download("edges2shoes", tmp_path)
    assert not (tmp_path / ".edges2shoes.tar.gz.partial").exists()


def test_a_data_root_that_cannot_be_written_into_is_named(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file/root: .*choose another folder"):
        download("edges2shoes", tmp_path / "file" / "root")


def test_a_second_download_at_the_same_time_is_refused(server, tmp_path):
    with (
        FileLock(tmp_path / ".edges2shoes.lock"),
        pytest.raises(StorageError, match="is downloading edges2shoes"),
    ):
        download("edges2shoes", tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(DataError, match="unknown dataset 'shoes'; known: edges2shoes, edges2handbags, apples2citrus"):
        download("shoes", tmp_path)


# ------------------------------------------------------------------------------------- parts of a larger archive

VARIETIES = ("Golden-Delicious", "Granny-Smith", "Pink-Lady", "Red-Delicious", "Royal-Gala")
VARIETIES += ("Lemon", "Lime", "Orange", "Red-Grapefruit", "Satsumas")


def groceries(splits=("train", "test", "val")):
    """Two photos of each variety and split, as the Grocery Store Dataset names them; and of bananas."""
    return {
        f"dataset/{split}/Fruit/{'Apple/' * (k < 5)}{name}/{name}_{n:03}.jpg": picture(100 * k + n)
        for split in splits
        for k, name in enumerate((*VARIETIES, "Banana"))
        for n in (1, 2)
    }


@pytest.fixture
def grocery(server, monkeypatch):
    server.content, server.tag, server.states_length = packed(groceries(), "GroceryStoreDataset-fc80"), 'W/"1"', False
    monkeypatch.setitem(ARCHIVES, "apples2citrus", ARCHIVES["apples2citrus"]._replace(url=server.url))
    return server


def test_fruit_is_taken_out_of_the_archive_and_sorted_into_domains(grocery, tmp_path):
    folder = download("apples2citrus", tmp_path)
    files = {name: sorted(file.name for file in (folder / name).iterdir()) for name in ("trainA", "testA", "testB")}
    apples, citrus = (
        [f"{name}_{n:03}.jpg" for name in names for n in (1, 2)] for names in (VARIETIES[:5], VARIETIES[5:])
    )
    assert files == {"trainA": apples, "testA": apples, "testB": citrus}
    assert (folder / "trainB" / "Lime_002.jpg").read_bytes() == picture(602)
    assert left(tmp_path) == ["apples2citrus", "apples2citrus.tar.gz.sha256"]
    assert sorted(file.name for file in folder.iterdir()) == ["testA", "testB", "trainA", "trainB"]


def test_an_archive_without_a_variety_is_refused(grocery, tmp_path):
    grocery.content = packed({k: v for k, v in groceries().items() if "/Lime/" not in k}, "GroceryStoreDataset-fc80")
    with pytest.raises(DataError, match=r"cannot be used: it contains no dataset/train/Fruit/Lime\. It was removed"):
        download("apples2citrus", tmp_path)
    assert left(tmp_path) == []


def test_the_command_names_the_preset_that_is_meant_for_the_fruit(grocery, tmp_path, command):
    code, out, _ = command("download", "apples2citrus", "--root", tmp_path)
    assert code == 0 and "10 images in testA, 10 images in testB, 10 images in trainA" in out
    assert f"munit-lite train apples2citrus --data-root {tmp_path}" in out


# ----------------------------------------------------------------------------------------------- the command line


def test_the_command_knows_every_data_set():
    name, *_ = get_args(get_type_hints(commands.download, include_extras=True)["name"])
    assert set(get_args(name)) == set(ARCHIVES)


@pytest.fixture
def command(monkeypatch, capsys):
    from munit_lite import cli

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["munit-lite", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_the_command_says_where_the_pictures_are_and_how_to_train_on_them(server, tmp_path, command, monkeypatch):
    monkeypatch.setenv("MUNIT_LITE_DATA", str(tmp_path))
    code, out, _ = command("download", "edges2shoes")
    assert code == 0 and f"edges2shoes is in {tmp_path / 'edges2shoes'}: 6 images in train, 2 images in val" in out
    assert "munit-lite train folder64 --folder edges2shoes" in out


def test_what_a_file_manager_leaves_in_the_folder_and_a_root_with_spaces_do_not_disturb(server, tmp_path, command):
    root = tmp_path / "data root"
    download("edges2shoes", root)
    (root / "edges2shoes" / ".DS_Store").touch()
    code, out, _ = command("download", "edges2shoes", "--root", root)
    assert code == 0 and "6 images in train, 2 images in val" in out and f"--data-root '{root}'" in out


def test_the_command_answers_in_json(server, tmp_path, command):
    code, out, err = command("download", "edges2shoes", "--root", tmp_path, "--json")
    result = json.loads(out)
    assert code == 0 and "edges2shoes.tar.gz: 100%" in err
    assert result == {
        "name": "edges2shoes",
        "folder": str(tmp_path / "edges2shoes"),
        "url": server.url,
        "images": {"train": 6, "val": 2},
    }


def test_the_command_fails_in_a_sentence(server, tmp_path, command):
    server.status = 404
    code, out, err = command("download", "edges2shoes", "--root", tmp_path)
    assert code == 1 and err.startswith("munit-lite: cannot download") and "404 Not Found" in err and not out


@pytest.mark.slow
def test_ctrl_c_keeps_what_has_come(server, tmp_path, monkeypatch):
    server.silent, server.cut_after = 4, [5000]
    monkeypatch.setattr(fetching, "CHUNK_SIZE", 1000)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2)
        with pytest.raises(KeyboardInterrupt):
            fetch(server.url, tmp_path / "edges2shoes.tar.gz")
    finally:
        signal.signal(signal.SIGALRM, before)
    server.silent = 0
    server.ranges_requested.clear()
    download("edges2shoes", tmp_path)
    assert server.ranges_requested == ["bytes=5000-"] and is_whole(tmp_path)
