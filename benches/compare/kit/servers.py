"""Runs nginx to serve the page files, and a proxy that adds 25 ms each way. The kit stops both after the run."""

import os
import resource
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

from . import places

NEAR_PORT, FAR_PORT, FAR_UPSTREAM_PORT = 18180, 18181, 18182
NEAR_URL = f"http://127.0.0.1:{NEAR_PORT}"
FAR_URL = f"http://127.0.0.1:{FAR_PORT}"
ONE_WAY_MS = 25
START_SECONDS = 10
CONNECTIONS = 1024
CACHED_FILES = 20_000  # twice the pages of the largest table
STOP_SECONDS = 10

NGINX_CONF = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_rlimit_nofile {open_files};
events {{ worker_connections {connections}; multi_accept on; }}
http {{
  types {{}}
  default_type application/json;
  access_log off;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_timeout 300s; keepalive_requests 100000000;
  open_file_cache max={cached_files} inactive=600s; open_file_cache_valid 600s;
  client_body_temp_path {folder}/client_body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;

  # Like the API: page 1 and 25 rows by default, at most 100 rows.
  map $arg_page      $page      {{ default $arg_page; "" 1; }}
  map $arg_page_size $page_size {{ default $arg_page_size; "" 25; ~^[1-9][0-9][0-9]+$ 100; }}
  map $http_x_api_key $allowed  {{ default 0; "bench-key" 1; }}
  server {{ listen 127.0.0.1:{near} backlog=4096; root {pages}/near; include {folder}/locations.conf; }}
  server {{ listen 127.0.0.1:{upstream} backlog=4096; root {pages}/far; include {folder}/locations.conf; }}
}}
"""

LOCATIONS_CONF = """
location ~ ^/api/datasets/(?<dataset>[0-9a-f-]+)/datapoints/?$ {
  if ($allowed = 0) { return 401 '{"detail":"Authentication credentials were not provided."}'; }
  try_files /$dataset/$page_size/$page.json @invalid;
}
location @invalid { return 404 '{"detail":"Invalid page."}'; }
location / { return 404 '{"detail":"Not found."}'; }
"""


def find_nginx():
    """Return the path of nginx, which is often not in the PATH of a normal user."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def write_configuration():
    places.SERVERS.mkdir(parents=True, exist_ok=True)
    # If root starts nginx, its workers run as another user by default. That user may not be able to read the pages.
    user = "user root;" if os.geteuid() == 0 else ""
    # At the limit of open files, nginx answers 404. So connections and cached files together stay below the limit.
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    open_files = 65_536 if hard_limit == resource.RLIM_INFINITY else min(65_536, hard_limit)
    conf = NGINX_CONF.format(
        folder=places.SERVERS,
        pages=places.PAGES,
        user=user,
        near=NEAR_PORT,
        upstream=FAR_UPSTREAM_PORT,
        open_files=open_files,
        connections=CONNECTIONS,
        cached_files=max(1, min(CACHED_FILES, open_files - 2 * CONNECTIONS)),
    )
    (places.SERVERS / "nginx.conf").write_text(conf)
    (places.SERVERS / "locations.conf").write_text(LOCATIONS_CONF)


def wait_until_open(process, port):
    deadline = time.monotonic() + START_SECONDS
    while not is_open(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"The server on port {port} did not start. Read the log files in {places.SERVERS}.")
        time.sleep(0.05)


def stop(process):
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running():
    """Start both servers, and stop them at the end."""
    write_configuration()
    for port in (NEAR_PORT, FAR_PORT, FAR_UPSTREAM_PORT):
        if is_open(port):
            raise SystemExit(
                f"Port {port} is in use. A killed run may have left its nginx running, with the process id in "
                f"{places.SERVERS}/nginx.pid. Stop the process that uses the port, then try again."
            )
    nginx = [find_nginx(), "-c", places.SERVERS / "nginx.conf", "-e", places.SERVERS / "error.log"]
    proxy = [
        places.release_binary("delay_proxy"), f"127.0.0.1:{FAR_PORT}", f"127.0.0.1:{FAR_UPSTREAM_PORT}", str(ONE_WAY_MS)
    ]
    processes = []
    with open(places.SERVERS / "messages.log", "wb") as log:
        try:
            for command, port in ((nginx, NEAR_PORT), (proxy, FAR_PORT)):
                # Each server has its own session, so that Ctrl-C reaches only the kit.
                process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
                processes.append(process)
                wait_until_open(process, port)
            yield
        finally:
            for process in processes:
                stop(process)
