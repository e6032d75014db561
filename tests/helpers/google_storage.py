"""Google's storage on this machine, for every client that a run with gs:// has.

It answers the JSON API for objects in memory: their generations and preconditions,
listings, resumable uploads. TensorFlow, whose endpoint is fixed, comes to it as to a
proxy, by CONNECT, under a certificate of its own; Orbax's TensorStore and Google's own
client are told where it is.
"""

import contextlib
import datetime
import ipaddress
import json
import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_HOSTS = ("www.googleapis.com", "storage.googleapis.com")


class Storage:
  """Buckets in memory.

  Attributes:
    objects: Bucket → name → generation and content.
    uploads: Its number → bucket, name and what has come.
    refused: The methods that are answered by 403.
  """

  def __init__(self, *buckets: str):
    self.objects: dict[str, dict[str, tuple[int, bytes]]] = {
      name: {} for name in buckets
    }
    self.uploads: dict[str, tuple[str, str, bytearray]] = {}
    self.refused: tuple[str, ...] = ()
    self.lock = threading.RLock()
    self._generation = time.time_ns()

  def names(self, bucket: str, prefix: str = "") -> list[str]:
    """Returns the names of the objects below a prefix."""
    with self.lock:
      return sorted(name for name in self.objects[bucket] if name.startswith(prefix))

  def put(self, bucket: str, name: str, content: bytes) -> None:
    """Writes an object."""
    with self.lock:
      self._generation += 1
      self.objects[bucket][name] = self._generation, content


class _Refusal(Exception):
  """An answer that is an error: its status."""


class _Handler(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True
  storage: Storage
  context: ssl.SSLContext

  def do_CONNECT(self):
    self.send_response(200)
    self.end_headers()
    try:
      self.connection = self.context.wrap_socket(self.connection, server_side=True)
    except OSError:  # the client is gone
      return
    self.rfile = self.connection.makefile("rb")
    self.wfile = self.connection.makefile("wb", 0)
    self.close_connection = False

  def _answer(self):
    body = self._body()
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    try:
      if self.command in self.storage.refused:
        raise _Refusal(403)
      with self.storage.lock:
        self._serve(url.path, query, body)
    except _Refusal as refusal:
      code = refusal.args[0]
      error = {"error": {"code": code, "message": f"answered {code}"}}
      self._send(code, json.dumps(error).encode(), "application/json")

  do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _answer

  def _serve(self, path, query, body):
    if found := re.fullmatch(r"(/upload)?/storage/v1/b/([^/]+)(/.*)?", path):
      upload, bucket, rest = found.groups()
      if bucket not in self.storage.objects:
        raise _Refusal(404)
      if upload:
        self._upload(bucket, query, body)
      elif not rest:
        self._json({"name": bucket, "location": "US", "locationType": "region"})
      elif rest == "/storageLayout":
        self._json({"bucket": bucket, "hierarchicalNamespace": {"enabled": False}})
      elif rest == "/o":
        self._list(bucket, query)
      elif found := re.fullmatch(
        r"/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/(.+)", rest
      ):
        self._copy(bucket, *found.groups())
      elif found := re.fullmatch(r"/o/(.+)", rest):
        self._object(bucket, urllib.parse.unquote(found[1]), query)
      else:
        raise _Refusal(404)
    elif found := re.fullmatch(
      r"/(?:download/storage/v1/b/)?([^/]+)/(?:o/)?(.+)", path
    ):
      self._object(found[1], urllib.parse.unquote(found[2]), {"alt": "media"})
    else:
      raise _Refusal(404)

  # --- Objects -------------------------------------------------------------------

  def _object(self, bucket, name, query):
    objects = self.storage.objects.get(bucket, {})
    generation = objects[name][0] if name in objects else 0
    self._check(generation, query)
    if not generation:
      raise _Refusal(404)
    if self.command == "DELETE":
      del objects[name]
      self._send(204, b"")
    elif query.get("alt") != "media":
      self._json(_facts(bucket, name, *objects[name]))
    else:
      self._content(*objects[name])

  def _content(self, generation, content):
    headers = {"X-Goog-Generation": str(generation)}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
    if not asked:
      self._send(200, content, headers=headers)
      return
    if not asked[1]:
      start, stop = max(len(content) - int(asked[2]), 0), len(content)
    else:
      start, stop = int(asked[1]), min(int(asked[2] or len(content)) + 1, len(content))
    if start >= len(content):
      raise _Refusal(416)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    self._send(206, content[start:stop], headers=headers)

  def _check(self, generation, query):
    if "ifGenerationMatch" in query and int(query["ifGenerationMatch"]) != generation:
      raise _Refusal(412)
    if int(query.get("ifGenerationNotMatch", -1)) == generation:
      raise _Refusal(304 if self.command == "GET" else 412)

  def _copy(self, bucket, name, to_bucket, to_name):
    name, to_name = urllib.parse.unquote(name), urllib.parse.unquote(to_name)
    if name not in self.storage.objects[bucket]:
      raise _Refusal(404)
    content = self.storage.objects[bucket][name][1]
    self.storage.put(to_bucket, to_name, content)
    facts = _facts(to_bucket, to_name, *self.storage.objects[to_bucket][to_name])
    size = str(len(content))
    self._json(
      {"done": True, "objectSize": size, "totalBytesRewritten": size, "resource": facts}
    )

  def _list(self, bucket, query):
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    names, prefixes = [], {}
    for name in self.storage.names(bucket, prefix):
      first, found, _ = name[len(prefix) :].partition(delimiter or "\0")
      if name < query.get("startOffset", "") or name >= query.get(
        "endOffset", "\U0010ffff"
      ):
        continue
      if found:
        prefixes[prefix + first + delimiter] = None
      if not found or (query.get("includeTrailingDelimiter") and name in prefixes):
        names.append(name)
    start = int(query.get("pageToken", 0))
    stop = start + int(query.get("maxResults", 1000))
    objects = self.storage.objects[bucket]
    listed = {
      "items": [_facts(bucket, one, *objects[one]) for one in names[start:stop]]
    }
    if not start:
      listed["prefixes"] = list(prefixes)
    if stop < len(names):
      listed["nextPageToken"] = str(stop)
    self._json(listed)

  # --- Uploads -------------------------------------------------------------------

  def _upload(self, bucket, query, body):
    kind, name = query["uploadType"], query.get("name", "")
    if kind == "resumable" and "upload_id" in query:
      self._resume(query["upload_id"], body)
      return
    if kind == "multipart":
      facts, content = _parts(self.headers["Content-Type"], body)
      name = name or facts["name"]
    there = self.storage.objects[bucket].get(name, (0, b""))[0]
    self._check(there, query)
    if kind == "resumable":
      name = name or json.loads(body)["name"]
      token = str(len(self.storage.uploads))
      self.storage.uploads[token] = bucket, name, bytearray()
      scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
      place = f"{scheme}://{self.headers['Host']}{self.path}&upload_id={token}"
      self._send(200, b"", headers={"Location": place})
      return
    self._finish(bucket, name, content if kind == "multipart" else body)

  def _resume(self, token, body):
    bucket, name, content = self.storage.uploads[token]
    asked = re.fullmatch(
      r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", self.headers.get("Content-Range", "")
    )
    if asked is None or asked[1]:
      assert asked is None or int(asked[1]) == len(content)
      content += body
    if asked is None or asked[2] == str(len(content)):
      self._finish(bucket, name, bytes(content))
      return
    headers = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
    self._send(308, b"", headers=headers)

  def _finish(self, bucket, name, content):
    self.storage.put(bucket, name, content)
    self._json(_facts(bucket, name, *self.storage.objects[bucket][name]))

  # --- HTTP ----------------------------------------------------------------------

  def _body(self):
    if "chunked" not in self.headers.get("Transfer-Encoding", ""):
      return self.rfile.read(int(self.headers.get("Content-Length") or 0))
    body = b""
    while size := int(self.rfile.readline(), 16):
      body += self.rfile.read(size)
      self.rfile.readline()
    self.rfile.readline()
    return body

  def _json(self, content):
    self._send(200, json.dumps(content).encode(), "application/json")

  def _send(self, code, body, kind="application/octet-stream", headers=()):
    self.send_response(code)
    self.send_header("Content-Type", kind)
    self.send_header("Content-Length", str(len(body)))
    for name, value in dict(headers).items():
      self.send_header(name, value)
    self.end_headers()
    if self.command != "HEAD" and code not in (204, 304):
      self.wfile.write(body)

  def log_message(self, *_):
    """Says nothing."""


def _facts(bucket, name, generation, content):
  now = datetime.datetime.fromtimestamp(generation / 1e9, datetime.UTC)
  updated = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
  return {
    "kind": "storage#object",
    "bucket": bucket,
    "name": name,
    "size": str(len(content)),
    "generation": str(generation),
    "metageneration": "1",
    "etag": str(generation),
    "timeCreated": updated,
    "updated": updated,
    "storageClass": "STANDARD",
  }


def _parts(kind, body):
  parsed = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
  facts, content = parsed.get_payload()
  return json.loads(facts.get_payload()), content.get_payload(decode=True)


@contextlib.contextmanager
def serving(folder: Path, *buckets: str) -> Iterator[tuple[Storage, dict[str, str]]]:
  """Serves empty buckets; yields them, and the environment of a process that uses them.

  Args:
    folder: Where the certificate is written.
    *buckets: Their names.
  """
  storage = Storage(*buckets)
  certificate = _certificate(folder)
  context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
  context.load_cert_chain(certificate)
  handler = type("_Served", (_Handler,), {"storage": storage, "context": context})
  server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
  server.daemon_threads = True
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  url = f"http://127.0.0.1:{server.server_address[1]}"
  try:
    yield storage, _environment(url, certificate)
  finally:
    server.shutdown()
    server.server_close()
    thread.join()


def _environment(url, certificate):
  return {
    # TensorFlow and TensorStore have one name for a token that is not asked for.
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
    "https_proxy": url,
    "no_proxy": "127.0.0.1,localhost",
    "CURL_CA_BUNDLE": str(certificate),
    "TENSORSTORE_GCS_HTTP_URL": url,
    "STORAGE_EMULATOR_HOST": url,
    "GOOGLE_CLOUD_PROJECT": "project",
    "NO_GCE_CHECK": "true",
    # Nothing answers there, at once.
    "GCE_METADATA_HOST": "127.0.0.1:1",
    "GCE_METADATA_ROOT": "127.0.0.1:1",
  }


def _certificate(folder: Path) -> Path:
  """Writes a key, and a certificate of Google's names that signs itself."""
  from cryptography import x509
  from cryptography.hazmat.primitives import hashes, serialization
  from cryptography.hazmat.primitives.asymmetric import ec

  key = ec.generate_private_key(ec.SECP256R1())
  name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
  now = datetime.datetime.now(datetime.UTC)
  names = [x509.DNSName(host) for host in _HOSTS]
  names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
  signed = (
    x509.CertificateBuilder()
    .subject_name(name)
    .issuer_name(name)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(now - datetime.timedelta(days=1))
    .not_valid_after(now + datetime.timedelta(days=7))
    .add_extension(x509.SubjectAlternativeName(names), critical=False)
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .sign(key, hashes.SHA256())
  )
  path = folder / "certificate.pem"
  text = key.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
  )
  path.write_bytes(text + signed.public_bytes(serialization.Encoding.PEM))
  return path
