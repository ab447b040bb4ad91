"""The worker of oidc: `celery --app services.oidc.worker worker`."""

from libs.messaging.worker import create_worker
from services.oidc import create_app

app = create_worker(create_app())
