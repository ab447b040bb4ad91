"""gunicorn for every web process; `--bind ADDRESS:PORT` and the app come from the command line."""

import importlib
import os
import shutil
import tempfile
from pathlib import Path

from gunicorn.glogging import Logger

# Since 25.1 gunicorn opens a control socket in HOME, which a second gunicorn of the machine would fight for.
control_socket_disable = True
worker_class = "libs.web.worker.Worker"
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
threads = int(os.environ.get("WEB_THREADS") or 8)
# Longer than nginx keeps its idle connections, so that nginx never writes into one that is being closed here.
keepalive = 75
# As long as gunicorn allows: a signed authorization request comes in the address, and the usual 4094 cut some off.
limit_request_line = 8190
# As much as nginx takes of headers in all: cookies come one by one in HTTP/2, and it makes one line of them.
limit_request_field_size = 32768
# Kubernetes kills 45 seconds after it began to take a pod away, Docker after 30.
graceful_timeout = 25
# Our apps log each request themselves, without its query.
accesslog = None
# What a proxy says about the client is read in libs, by TRUSTED_PROXY_HOPS; gunicorn is to believe nobody.
forwarded_allow_ips = ""
# Every process of one master counts into one folder. prometheus_client looks for it when it is imported.
metrics_folder = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp(prefix="id-metrics-"))
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_folder)


class logger_class(Logger):
    """Sends gunicorn's own words through the app's handlers, as JSON lines among the others."""

    def setup(self, cfg):
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


def on_starting(server):
    """Empty the metrics folder; end with code 2 for a bad setting, where workers would end for ever."""
    from libs.observe.logs import configure_logs
    from libs.settings import Settings

    shutil.rmtree(metrics_folder, ignore_errors=True)
    metrics_folder.mkdir(parents=True)
    owner = server.app.app_uri.partition(":")[0]
    package = owner if owner.startswith("services.") else owner.partition(".")[0]
    kind = Settings
    if importlib.util.find_spec(f"{package}.settings"):
        module = importlib.import_module(f"{package}.settings")
        own = [
            found for found in vars(module).values() if getattr(found, "__module__", "") == module.__name__
        ]
        kind = next(
            (found for found in own if isinstance(found, type) and issubclass(found, Settings)), Settings
        )
    configure_logs(kind.load_or_exit(), service=package.rpartition(".")[2])


def post_worker_init(worker):
    """Keep the gauges of this process true, whichever process answers the next scrape."""
    from libs.observe.metrics import watch_pools

    # All in one they stand behind one door.
    watch_pools(getattr(worker.wsgi, "owners", {"": worker.wsgi}).values())


def child_exit(server, worker):
    """Drop the gauges of a worker that is gone."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    shutil.rmtree(metrics_folder, ignore_errors=True)
