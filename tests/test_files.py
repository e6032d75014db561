"""Files written whole or not at all."""

import errno
import multiprocessing
import os
import signal

import pytest
from etils import epath

from hue_jax.files import replacing, write_text

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


def _write_half(path, error):
  with replacing(path) as file:
    file.write(b"after")
    raise error


def _write_forever(path, digit):
  while True:
    write_text(path, digit * 2**16)
