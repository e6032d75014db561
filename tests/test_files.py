"""Files written whole or not at all."""

import contextlib
import errno
import io
import multiprocessing
import os
import signal

import pytest
from etils import epath

from hue_jax import command
from hue_jax.color import __main__ as color
from hue_jax.export import __main__ as export
from hue_jax.files import replacing, write_text
from hue_jax.observe import defaults
from hue_jax.observe import run as observe
from hue_jax.predict import __main__ as predict
from hue_jax.runs import __main__ as runs

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class TestReplacing:
  @pytest.mark.parametrize("kind", [str, epath.Path])
  def test_takes_its_place_when_complete(self, tmp_path, kind):
    path = tmp_path / "numbers.bin"
    path.write_bytes(b"before")
    with replacing(kind(path)) as file:
      file.write(b"after")
      file.flush()
      assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert os.listdir(tmp_path) == ["numbers.bin"]

  @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
  def test_leaves_the_one_before_and_nothing_else_after_an_error(self, tmp_path, error):
    path = tmp_path / "numbers.bin"
    path.write_bytes(b"before")
    with pytest.raises(error):
      _write_half(path, error)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["numbers.bin"]

  def test_sends_to_a_bucket_at_the_end_and_nothing_after_an_error(self):
    path = _InBucket()
    with replacing(path) as file:
      file.write(b"after")
      assert path.sent == []
    assert path.sent == [b"after"]
    with pytest.raises(RuntimeError):
      _write_half(path, RuntimeError)
    assert path.sent == [b"after"]

  def test_names_the_file_on_a_full_disk(self):
    with pytest.raises(OSError, match="No space left") as caught:
      _write_half("/tmp/numbers.bin", FULL)
    assert caught.value.filename == "/tmp/numbers.bin"

  def test_names_the_file_that_cannot_be_made(self, tmp_path):
    path = tmp_path / "no_folder" / "numbers.bin"
    with pytest.raises(FileNotFoundError) as caught, replacing(path):
      pass
    assert caught.value.filename == str(path)

  def test_keeps_the_name_of_another_file(self, tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a") as file:
      file.write((tmp_path / "b").read_bytes())
    assert caught.value.filename == str(tmp_path / "b")

  def test_a_reader_beside_two_killed_writers_sees_whole_files(self, tmp_path):
    path = tmp_path / "numbers.bin"
    write_text(path, "0" * 2**16)
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_write_forever, args=(path, d)) for d in "12"]
    for writer in writers:
      writer.start()
    seen = set()
    while not {"1", "2"} <= seen:
      text = path.read_text()
      assert text == text[0] * 2**16
      seen.add(text[0])
    for writer in writers:
      os.kill(writer.pid, signal.SIGKILL)
      writer.join()
    assert path.read_text() in [d * 2**16 for d in "12"]


class TestLocalPath:
  @pytest.mark.parametrize(
    "call",
    [
      lambda url: runs.main([url]),
      lambda url: runs.main([".", f"--output={url}.html"]),
      lambda url: export.main(["resnet18", "--to=torch", f"--output={url}"]),
      lambda url: predict.main(["--network=resnet18", f"--output={url}", "a.png"]),
      lambda url: color.main(["--network=resnet18", "a.png", f"--out={url}.png"]),
      lambda url: command.run(lambda: observe.observe(defaults.get_config(), url)),
    ],
  )
  @pytest.mark.parametrize("url", ["gs://bucket/a", "s3://bucket/a"])
  def test_no_command_makes_a_folder_of_a_url(self, call, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
      assert call(url) == 2
    (line,) = errors.getvalue().splitlines()
    assert f" is '{url}" in line
    assert line.endswith("; it must be a path of this machine.")
    assert os.listdir(tmp_path) == []


class _InBucket:
  """A path of a bucket, which notes what is sent there."""

  def __init__(self):
    self.sent = []

  def __fspath__(self):
    return "gs://bucket/a"

  def write_bytes(self, content):
    self.sent.append(content)


def _write_half(path, error):
  with replacing(path) as file:
    file.write(b"after")
    raise error


def _write_forever(path, digit):
  while True:
    write_text(path, digit * 2**16)
