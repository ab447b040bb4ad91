"""A self-made TLS certificate for nginx on one machine; browsers and tests have to be told to trust it."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LIFETIME = datetime.timedelta(days=397)
RENEW_BEFORE_END = datetime.timedelta(days=30)


def ensure_certificate(certificate: Path, key: Path, *, host: str) -> None:
    """Make certificate and key for localhost and `host`, unless those there are still good."""
    if key.exists() and certificate.exists() and _is_good(certificate, host):
        return
    certificate.parent.mkdir(parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "UpdSpace ID on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, SHA256())
    )
    key.unlink(missing_ok=True)
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(made.public_bytes(Encoding.PEM))


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(("localhost", host))]
    return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]


def _is_good(certificate: Path, host: str) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    is_fresh = found.not_valid_after_utc - RENEW_BEFORE_END > datetime.datetime.now(datetime.UTC)
    return is_fresh and host in names.get_values_for_type(x509.DNSName)
