"""What DATA_ENCRYPTION_KEYS seals in oidc's database: the one list, by which keys rotate.

The successors of refresh tokens are not here: each is sealed under a key that only the token before it holds.
"""

from libs.guard.secrets.sealed import SealedColumn
from services.oidc.flows import pairwise
from services.oidc.flows.keys import material
from services.oidc.models import IssuerSecret, SigningKey

SEALED = (
    SealedColumn(SigningKey.private_key_sealed, material.place),
    SealedColumn(IssuerSecret.value_sealed, pairwise.place),
)
