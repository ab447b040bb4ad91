"""What DATA_ENCRYPTION_KEYS seals in account's database: the one list, by which keys rotate."""

from libs.guard.secrets.sealed import SealedColumn
from services.account.flows import forgotten, totp
from services.account.flows.data_download import collecting
from services.account.flows.linking import visits
from services.account.models import DataPart, PasswordRequest, ProviderVisit, TOTPCredential

SEALED = (
    SealedColumn(TOTPCredential.seed_sealed, totp.seed_place),
    SealedColumn(ProviderVisit.secrets_sealed, visits.secrets_place),
    SealedColumn(PasswordRequest.sealed_email, forgotten.email_place),
    SealedColumn(DataPart.sealed_content, collecting.place),
)
