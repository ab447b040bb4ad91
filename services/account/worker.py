"""The worker of account: `celery --app services.account.worker worker`."""

from libs.messaging.worker import create_worker
from services.account import create_app

app = create_worker(create_app())
