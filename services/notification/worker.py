"""The worker of notification: `celery --app services.notification.worker worker`."""

from libs.messaging.worker import create_worker
from services.notification import create_app

app = create_worker(create_app())
