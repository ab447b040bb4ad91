"""The worker of onboarding: `celery --app services.onboarding.worker worker`."""

from libs.messaging.worker import create_worker
from services.onboarding import create_app

app = create_worker(create_app())
