"""A genuine Nova and a genuine Keystone on loopback, until SIGTERM or the end of standard input.

    python start.py [--quota N] [--token-lifetime SECONDS] [--max-microversion 2.N] [--stay]

runs in the virtual environment of requirements.txt. Everything is in a temporary folder that goes at the end; a copy of the
empty databases is kept beside the environment, since making them takes longer than all the rest. When both services
answer, one line of JSON says where they are and who may log in; if they do not come up, it says why.

Both are their projects' own WSGI applications. What is not as in production: waitress serves them, SQLite keeps their data,
there is no message broker and no token cache, and with --max-microversion Nova says that it is older than it is.
"""

import argparse
import base64
import fcntl
import hashlib
import inspect
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

REGIONS = ["RegionOne", "RegionTwo"]
SERVICES = ["keystone", "nova"]
START_SECONDS = 180

NOVA_CONF = """
[DEFAULT]
host = loopback
my_ip = 127.0.0.1
state_path = {folder}
log_file = {folder}/nova.log
transport_url = fake:///

[api_database]
connection = sqlite:///{folder}/nova_api.sqlite
sqlite_synchronous = false

[database]
connection = sqlite:///{folder}/nova.sqlite
sqlite_synchronous = false

[api]
# So that a few pairs make several pages.
max_limit = 3

[quota]
key_pairs = {quota}

[oslo_concurrency]
lock_path = {folder}/locks

[oslo_messaging_notifications]
driver = noop

[keystone_authtoken]
auth_type = password
auth_url = {auth_url}
www_authenticate_uri = {auth_url}
username = nova
password = {service_password}
user_domain_id = default
project_name = service
project_domain_id = default
service_type = compute
# Off, so that a revoked token is refused at once.
token_cache_time = -1
"""

KEYSTONE_CONF = """
[DEFAULT]
log_file = {folder}/keystone.log
transport_url = fake:///

[database]
connection = sqlite:///{folder}/keystone.sqlite
sqlite_synchronous = false

[token]
provider = fernet
expiration = {token_lifetime}

[fernet_tokens]
key_repository = {folder}/token-keys

[fernet_receipts]
key_repository = {folder}/token-keys

[credential]
key_repository = {folder}/credential-keys

[identity]
# bcrypt's least: nothing here is worth guarding.
password_hash_rounds = 4

[oslo_messaging_notifications]
driver = noop
"""


class Failure(Exception):
    """Something did not come up; the text says what."""


def configure(folder, **values):
    """Writes both services' configuration, and Keystone's keys."""
    values = {
        "folder": folder,
        "quota": 100,
        "token_lifetime": 3600,
        "auth_url": "http://127.0.0.1:1/v3",
        "service_password": "none yet",
        **values,
    }
    (folder / "nova.conf").write_text(NOVA_CONF.format(**values))
    (folder / "keystone.conf").write_text(KEYSTONE_CONF.format(**values))
    for name in ["token-keys", "credential-keys"]:
        (folder / name).mkdir(mode=0o700)
        for number in ["0", "1"]:
            key = folder / name / number
            key.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
            key.chmod(0o600)


def clean_environment(**more):
    """Without the caller's own OpenStack and proxy settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
    return {**kept, "no_proxy": "*", "NO_PROXY": "*", "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1", **more}


# Databases


def empty_databases():
    """The folder of databases with their schema and Keystone's administrator, made once."""
    recipe = NOVA_CONF + KEYSTONE_CONF + inspect.getsource(make_databases)
    edition = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    kept = Path(sys.prefix) / f"databases-{edition}"
    with open(kept.with_suffix(".lock"), "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not kept.exists():
            draft = Path(tempfile.mkdtemp(prefix="databases-", dir=sys.prefix))
            try:
                make_databases(draft)
                draft.rename(kept)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return kept


def make_databases(draft):
    password = secrets.token_hex(16)
    configure(draft)
    steps = [
        ("nova", "api_db", "sync"),
        ("nova", "db", "sync", "--local_cell"),
        ("keystone", "db_sync"),
        ("keystone", "bootstrap", "--bootstrap-password", password, "--bootstrap-region-id", REGIONS[0]),
    ]
    # The two projects' schemas have nothing to do with each other.
    failures = []

    def run(service):
        for step in steps:
            if step[0] != service or failures:
                continue
            code = f"import sys; from {service}.cmd.manage import main; sys.exit(main())"
            command = [sys.executable, "-c", code, "--config-file", str(draft / f"{service}.conf"), *step[1:]]
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=clean_environment(),
            )
            if done.returncode:
                failures.append(f"{' '.join(step[:2])}: {done.stdout[-2000:].decode(errors='replace')}")

    threads = [threading.Thread(target=run, args=(service,)) for service in SERVICES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise Failure("; ".join(failures))
    for path in draft.iterdir():
        if path.suffix == ".sqlite":
            # It lasts. Keystone reads in one connection while it writes in another, which SQLite bears only so.
            database = sqlite3.connect(path)
            database.execute("PRAGMA journal_mode = WAL")
            database.close()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (draft / "administrator").write_text(password)


# Services


def serve(service, folder, descriptor, max_microversion):
    """One service, on a socket that listens already. It ends with its parent, which holds the other end of its standard input."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.argv = [service]
    if service == "nova":
        os.environ["OS_NOVA_CONFIG_DIR"] = str(folder)
        from nova import monkey_patch

        monkey_patch.patch(backend="threading")
        if max_microversion:
            from nova.api.openstack import api_version_request

            api_version_request._MAX_API_VERSION = max_microversion
        from nova.wsgi.osapi_compute import application
    else:
        os.environ["OS_KEYSTONE_CONFIG_DIR"] = str(folder)
        from keystone.wsgi.api import application
    import waitress

    # Keystone's connections to SQLite do not pass from thread to thread.
    threads = 8 if service == "nova" else 1
    waitress.serve(
        application,
        sockets=[socket.socket(fileno=descriptor)],
        threads=threads,
        ident=None,
        _quiet=True,
    )


def end_with_parent():
    os.read(0, 1)
    os._exit(0)


class Service:
    """A child that serves on a free port."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.process = None

    def start(self, max_microversion):
        descriptor = self.socket.fileno()
        command = [sys.executable, __file__, "--serve", self.name, "--folder", str(self.folder)]
        command += ["--descriptor", str(descriptor), "--max-microversion", max_microversion]
        with open(self.folder / f"{self.name}.out", "wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[descriptor],
                env=clean_environment(),
                cwd=self.folder,
            )
        self.socket.close()

    def await_answer(self, path):
        """Its first answer. The socket listens from the beginning, so a request waits for the program."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return ask("GET", self.url + path, timeout=5)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    said = (self.folder / f"{self.name}.out").read_text(errors="replace")
                    raise Failure(f"{self.name} does not start: {said[-2000:]}") from None
                time.sleep(0.05)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()


# Who may log in, and where the services are


def ask(method, url, body=None, token=None, timeout=60):
    """An answer's headers and its JSON."""
    request = urllib.request.Request(url, method=method, data=json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    request.add_header("Accept", "application/json")
    if token:
        request.add_header("X-Auth-Token", token)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            headers, text = answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        raise Failure(f"{method} {url}: {error.code} {error.read(500)!r}") from None
    return headers, json.loads(text or "null")


def populate(auth_url, compute_url, administrator, service_password):
    """The service's user, and the catalogue. The id of the role of a project's members."""
    identity = {
        "methods": ["password"],
        "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": administrator}},
    }
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    login = {"auth": {"identity": identity, "scope": scope}}

    def administer(method, path, body=None):
        # A token for each request: they may last no longer.
        headers, _ = ask("POST", f"{auth_url}/auth/tokens", login)
        return ask(method, auth_url + path, body, headers["X-Subject-Token"])[1]

    def make(kind, **fields):
        return administer("POST", f"/{kind}s", {kind: fields})[kind]["id"]

    roles = {role["name"]: role["id"] for role in administer("GET", "/roles")["roles"]}
    project = make("project", name="service", domain_id="default")
    user = make("user", name="nova", domain_id="default", password=service_password)
    for role in ["admin", "service"]:
        administer("PUT", f"/projects/{project}/users/{user}/roles/{roles[role]}")
    make("region", id=REGIONS[1])
    # Nova itself looks for the internal endpoint of Keystone.
    wanted = [("identity", "internal", REGIONS[0], auth_url)]
    wanted += [("compute", interface, region, compute_url) for region in REGIONS for interface in ["public", "internal"]]
    services = {kind: make("service", name=kind, type=kind) for kind in ["identity", "compute"]}
    for kind, interface, region, url in wanted:
        make("endpoint", service_id=services[kind], interface=interface, region_id=region, url=url)
    return roles["member"]


def run(options):
    kept = empty_databases()
    folder = Path(tempfile.mkdtemp(prefix="keyferry-openstack-"))
    services = []
    try:
        for path in kept.glob("*.sqlite"):
            shutil.copyfile(path, folder / path.name)
        service_password = secrets.token_hex(16)
        services = [Service(name, folder) for name in SERVICES]
        keystone, nova = services
        auth_url, compute_url = f"{keystone.url}/v3", f"{nova.url}/v2.1"
        configure(
            folder,
            auth_url=auth_url,
            quota=options.quota,
            token_lifetime=options.token_lifetime,
            service_password=service_password,
        )
        shutil.copyfile(Path(sys.prefix) / "etc/nova/api-paste.ini", folder / "api-paste.ini")
        for service in services:
            service.start(options.max_microversion)
        keystone.await_answer("/v3")
        administrator = (kept / "administrator").read_text()
        member = populate(auth_url, compute_url, administrator, service_password)
        _, versions = nova.await_answer("/v2.1/")
        facts = {
            "auth_url": auth_url,
            "compute_url": compute_url,
            "administrator": administrator,
            "member_role": member,
            "regions": REGIONS,
            "max_microversion": versions["version"]["version"],
            "folder": str(folder),
            "processes": [service.process.pid for service in services],
        }
        print(json.dumps(facts), flush=True)
        if options.stay:
            signal.pause()
        # Until whoever started this closes it, or ends.
        sys.stdin.buffer.read()
    finally:
        for service in services:
            service.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quota", type=int, default=100, help="key pairs per user")
    parser.add_argument("--token-lifetime", type=int, default=3600, help="seconds that a token lasts")
    parser.add_argument("--max-microversion", default="", help="the newest that Nova has")
    parser.add_argument("--serve", choices=SERVICES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stay", action="store_true", help="serve until SIGTERM, whatever becomes of standard input")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder, options.descriptor, options.max_microversion)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run(options)
    except Failure as failure:
        print(json.dumps({"failed": str(failure)}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
