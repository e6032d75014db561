"""A bucket on this machine: a server of its protocol, behind a network that fails.

`python -m tests.helpers.bucket s3` serves one until its standard input ends, and prints
a line of JSON: the environment by which fsspec finds it, without and with the network
between. A line of JSON with settings of the network, such as {"delay": 0.05}, is
answered by one with what was asked for since the last, and the seconds of a core that
it took.
"""

import argparse
import asyncio
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUCKET = "pictures"
_PIECE = 256 * 1024


class Network:
  """A proxy before an HTTP server, which delays requests and loses some.

  Attributes:
    delay: Seconds that each request takes longer.
    drop: The part of the requests that get no answer, half an answer, or 503.
    down: Whether no connection is accepted.
    requests: How many requests have come.
    sent: How many bytes of answers have gone.
    ranges: The path and range of each request.
  """

  def __init__(self, port: int):
    self.delay, self.drop, self.down = 0.0, 0.0, False
    self.requests = self.sent = 0
    self.ranges: list[tuple[str, str]] = []
    self.port = 0
    self._to, self._random = port, random.Random(0)
    self._loop = asyncio.new_event_loop()
    started = threading.Event()
    self._thread = threading.Thread(target=self._run, args=[started], daemon=True)
    self._thread.start()
    started.wait()

  @property
  def url(self) -> str:
    return f"http://127.0.0.1:{self.port}"

  def stop(self) -> None:
    self._loop.call_soon_threadsafe(self._loop.stop)
    self._thread.join()

  def _run(self, started):
    asyncio.set_event_loop(self._loop)
    server = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
    self.port = self._loop.run_until_complete(server).sockets[0].getsockname()[1]
    started.set()
    self._loop.run_forever()
    left = asyncio.all_tasks(self._loop)
    for task in left:
      task.cancel()
    self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    self._loop.close()

  async def _serve(self, reader, writer):
    try:
      while not self.down:
        head = await reader.readuntil(b"\r\n\r\n")
        if _field(head, b"expect"):
          writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(_length(head))
        self.requests += 1
        path = head.split(b" ", 2)[1].decode()
        self.ranges.append((path, _field(head, b"range").decode()))
        await asyncio.sleep(self.delay)
        if self.down or not await self._answer(head, body, writer):
          break
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
      pass  # The client has gone, or `stop` has come.
    finally:
      writer.close()

  async def _answer(self, head, body, writer) -> bool:
    """Passes an answer on; returns whether the connection may be used again."""
    kind = self._random.choice(("none", "half", "503"))
    fails = self._random.random() < self.drop
    if fails and kind == "none":
      return False
    if fails and kind == "503":
      writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")
      return True
    reader, server = await asyncio.open_connection("127.0.0.1", self._to, limit=2**21)
    try:
      server.write(_closing(head))
      server.write(body)
      answer = await reader.readuntil(b"\r\n\r\n")
      # HTTP/1.0 servers close after each answer; the one before a client need not.
      answer = _without_connection(answer).replace(b"HTTP/1.0", b"HTTP/1.1", 1)
      bare = head.startswith(b"HEAD") or answer.split(b" ", 2)[1] in (b"204", b"304")
      left = 0 if bare else _length(answer)
      writer.write(answer)
      if fails:
        left //= 2
      while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
          return False
        left -= len(piece)
        self.sent += len(piece)
        writer.write(piece)
        await writer.drain()
      return not fails
    finally:
      server.close()


def _field(head: bytes, name: bytes) -> bytes:
  for line in head.split(b"\r\n")[1:]:
    if line.lower().startswith(name + b":"):
      return line.partition(b":")[2].strip()
  return b""


def _length(head: bytes) -> int:
  return int(_field(head, b"content-length") or 0)


def _closing(head: bytes) -> bytes:
  """The head of a request or an answer, after which its sender closes."""
  return _without_connection(head, b"Connection: close\r\n")


def _without_connection(head: bytes, instead: bytes = b"") -> bytes:
  lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
  kept = [one for one in lines if not one.lower().startswith(_OF_A_CONNECTION)]
  return b"\r\n".join(kept) + b"\r\n" + instead + b"\r\n"


_OF_A_CONNECTION = (b"connection:", b"expect:")


@contextmanager
def serving(kind: str) -> Iterator[tuple[str, Network]]:
  """Serves an empty bucket named `BUCKET`; yields its URL, and the network before it.

  Args:
    kind: "s3" or "gs".
  """
  with _SERVERS[kind]() as port:
    network = Network(port)
    try:
      yield f"http://127.0.0.1:{port}", network
    finally:
      network.stop()


@contextmanager
def _s3_server():
  import logging

  from moto.server import ThreadedMotoServer

  logging.getLogger("werkzeug").setLevel(logging.ERROR)
  server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
  server.start()
  try:
    yield server.get_host_and_port()[1]
  finally:
    server.stop()


@contextmanager
def _gs_server():
  from gcp_storage_emulator.server import create_server

  server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
  server.start()
  try:
    yield server._api._httpd.server_address[1]
  finally:
    server.stop()


_SERVERS = {"s3": _s3_server, "gs": _gs_server}


def environment(kind: str, url: str) -> dict[str, str]:
  """Returns the variables by which fsspec finds a server."""
  if kind == "gs":
    return {
      "FSSPEC_GS_ENDPOINT_URL": url,
      "FSSPEC_GS_TOKEN": "anon",
      # The server does not have the newest kinds of buckets, which gcsfs asks about.
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
  return {
    "FSSPEC_S3_ENDPOINT_URL": url,
    "FSSPEC_S3_KEY": "key",
    "FSSPEC_S3_SECRET": "secret",
  }


def options(kind: str, url: str) -> dict[str, str]:
  """Returns what fsspec makes of the environment."""
  prefix = f"FSSPEC_{kind.upper()}_"
  return {
    name.removeprefix(prefix).lower(): value
    for name, value in environment(kind, url).items()
    if name.startswith(prefix)
  }


def upload(kind: str, url: str, folder: str, to: str) -> None:
  """Copies the files below a folder into the bucket."""
  import fsspec

  fs = fsspec.filesystem(kind, skip_instance_cache=True, **options(kind, url))
  if kind == "s3" and not fs.exists(BUCKET):
    fs.mkdir(BUCKET)
  for path in sorted(Path(folder).rglob("*")):
    if path.is_file():
      fs.pipe_file(f"{BUCKET}/{to}/{path.relative_to(folder)}", path.read_bytes())


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("kind", choices=list(_SERVERS))
  args = parser.parse_args()
  told, sys.stdout = sys.stdout, sys.stderr  # Servers print, too.
  with serving(args.kind) as (url, network):
    urls = {"direct": url, "network": network.url}
    line = {name: environment(args.kind, url) for name, url in urls.items()}
    print(json.dumps(line), file=told, flush=True)
    before = time.process_time()
    for settings in sys.stdin:
      vars(network).update(json.loads(settings))
      seconds = time.process_time()
      counts = {"requests": network.requests, "bytes": network.sent}
      counts["cpu"], before = seconds - before, seconds
      network.requests = network.sent = 0
      network.ranges.clear()
      print(json.dumps(counts), file=told, flush=True)


if __name__ == "__main__":
  main()
