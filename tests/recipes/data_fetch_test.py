"""kdrun data fetch against an HTTP server of its own: progress, broken downloads, wrong and hostile archives."""

import gzip
import http.server
import io
import os
import pathlib
import tarfile
import threading

from program import kdrun, main

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, understands Range, and breaks off each file of `breaks` once after so many bytes."""

    def __init__(self, files, breaks=None):
        self.files, self.breaks, self.ranges = files, dict(breaks or {}), []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            return self.send_error(404)
        begin = 0
        if wanted := self.headers.get("Range"):
            begin = int(wanted.removeprefix("bytes=").split("-")[0])
            self.server.ranges.append(begin)
            if begin >= len(content):
                return self.send_error(416)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = self.server.breaks.pop(self.path.lstrip("/"), len(content))
        self.wfile.write(content[begin:end])

    def log_message(self, *_):
        pass


def fake_mnist():
    """Archives of MNIST's names whose content is not MNIST's."""
    return {name + ".gz": gzip.compress(os.urandom(5000)) for name in NAMES}


def real_mnist():
    folder = pathlib.Path(os.environ["KD_DATA"]) / "mnist"
    return {name + ".gz": gzip.compress((folder / name).read_bytes(), 1) for name in NAMES}


def real_data():
    return "KD_DATA" in os.environ and (pathlib.Path(os.environ["KD_DATA"]) / "mnist").is_dir()


def wrong_content_is_not_believed():
    server = Server(fake_mnist())
    error = kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", server.url, code=4).stderr
    assert "train-images-idx3-ubyte: its SHA-256 is not that of the official file" in error, error
    text = kdrun("data", "verify", "mnist", "--data-root", "root", code=4).stdout
    assert text.count("SHA-256 is not that of") == 4, text


def a_damaged_archive_is_refused():
    files = fake_mnist()
    files["train-images-idx3-ubyte.gz"] = files["train-images-idx3-ubyte.gz"][:3000]
    error = kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", Server(files).url, code=4).stderr
    assert "train-images-idx3-ubyte.gz cannot be unpacked" in error, error


def a_missing_file_and_a_dead_server_say_what_to_do():
    error = kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", Server({}).url, code=1).stderr
    assert "cannot download http://127.0.0.1" in error and "404" in error and "goes on from there" not in error, error
    assert not list(pathlib.Path(".").rglob("*.part")), "nothing has come, and nothing is kept"
    error = kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", "http://127.0.0.1:1", code=1).stderr
    assert "cannot download http://127.0.0.1:1/train-images-idx3-ubyte.gz" in error, error


def a_broken_download_goes_on_where_it_ended():
    files = fake_mnist()
    server = Server(files, breaks={"train-images-idx3-ubyte.gz": 1000})
    kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", server.url, code=1)
    part = pathlib.Path("root/downloads/train-images-idx3-ubyte.gz.part")
    assert part.read_bytes() == files["train-images-idx3-ubyte.gz"][:1000]
    kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", server.url, code=4)  # whole now, but not MNIST
    assert server.ranges == [1000], server.ranges
    unpacked = pathlib.Path("root/mnist/train-images-idx3-ubyte").read_bytes()
    assert unpacked == gzip.decompress(files["train-images-idx3-ubyte.gz"])


def tar_with(entry, kind=tarfile.REGTYPE, target=""):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        info = tarfile.TarInfo(entry)
        info.type, info.linkname = kind, target
        info.size = 4 if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(b"evil"))
    return stream.getvalue()


def hostile_archives_write_nothing_outside():
    for archive, word in ((tar_with("../evil.txt"), "would leave the folder"), (tar_with("/tmp/kdrun-evil.txt"), "would leave the folder"),
                          (tar_with("cifar-100-binary/x", tarfile.SYMTYPE, "/etc/passwd"), "is no plain file")):
        server = Server({"cifar-100-binary.tar.gz": archive})
        error = kdrun("data", "fetch", "cifar100", "--data-root", "deep/root", "--mirror", server.url, code=4).stderr
        assert word in error, error
    assert not pathlib.Path("deep/evil.txt").exists() and not pathlib.Path("/tmp/kdrun-evil.txt").exists()


def real_mnist_is_fetched_verified_and_left_alone():
    if not real_data():
        print("        (skipped: KD_DATA names no data root with mnist)")
        return
    files = real_mnist()
    server = Server(files, breaks={"t10k-images-idx3-ubyte.gz": 12345})
    kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", server.url, code=1)
    text = kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", server.url).stdout
    assert "mnist: fetched and verified" in text, text
    server.shutdown()
    assert "already there" in kdrun("data", "fetch", "mnist", "--data-root", "root", "--mirror", server.url).stdout
    assert "mnist: ok" in kdrun("data", "verify", "--data-root", "root").stdout
    with open("root/mnist/t10k-labels-idx1-ubyte", "r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    assert "its SHA-256 is not that of" in kdrun("data", "verify", "--data-root", "root", code=4).stdout


def unknown_sets_get_a_hint():
    assert "did you mean 'mnist'?" in kdrun("data", "fetch", "mnits", code=2).stderr


main([wrong_content_is_not_believed, a_damaged_archive_is_refused, a_missing_file_and_a_dead_server_say_what_to_do,
      a_broken_download_goes_on_where_it_ended, hostile_archives_write_nothing_outside, real_mnist_is_fetched_verified_and_left_alone,
      unknown_sets_get_a_hint])
