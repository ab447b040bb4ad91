"""Apache with mod_auth_openidc: a relying party that this project did not write, on a loopback port of its own."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from gateway.servers import free_port

BINARY = shutil.which("apache2") or "/usr/sbin/apache2"
MODULE = Path(os.environ.get("MOD_AUTH_OPENIDC") or "/usr/lib/apache2/modules/mod_auth_openidc.so")
MODULES = MODULE.parent
CONFIGURATION = """\
ServerRoot {folder}
PidFile {folder}/apache.pid
Listen 127.0.0.1:{port}
ServerName localhost
ErrorLog {folder}/error.log
LogLevel warn auth_openidc:info
{modules}
User {user}
SSLSessionCache none
<VirtualHost 127.0.0.1:{port}>
  SSLEngine on
  SSLCertificateFile {certificate}
  SSLCertificateKeyFile {key}
  DocumentRoot {folder}/pages
  OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
  OIDCCABundlePath {certificate}
  OIDCClientID {client_id}
  OIDCClientSecret {client_secret}
  OIDCRedirectURI https://localhost:{port}/protected/callback
  OIDCCryptoPassphrase {passphrase}
  OIDCScope "openid email profile"
  OIDCPKCEMethod S256
  OIDCRemoteUserClaim email
  OIDCSessionType server-cache
  OIDCCacheType file
  OIDCCacheDir {folder}/cache
  <Location /protected>
    AuthType openid-connect
    Require valid-user
    Header set X-Remote-User "expr=%{{REMOTE_USER}}"
  </Location>
</VirtualHost>
"""
NEEDED = ("mpm_event", "authn_core", "authz_core", "authz_user", "ssl", "headers", "dir", "auth_openidc")


class Apache:
    """Use as a context manager; `client` is what `clients create` printed, its redirect URI the one of redirect_uri."""

    def __init__(self, folder: Path, port: int | None = None):
        self.folder, self.port = folder, port or free_port()
        self.url = f"https://localhost:{self.port}"
        self.redirect_uri = f"{self.url}/protected/callback"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, issuer: str, client: Mapping[str, str], certificate: Path) -> "Apache":
        (self.folder / "pages" / "protected").mkdir(parents=True)
        (self.folder / "pages" / "protected" / "index.html").write_text("Members alone")
        (self.folder / "cache").mkdir()
        user = "nobody"
        if os.geteuid() == 0:
            shutil.chown(self.folder / "cache", user)
            for parent in (self.folder, *self.folder.parents):
                if parent.owner() == "root" and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        else:
            user = pwd.getpwuid(os.geteuid()).pw_name
        configuration = self.folder / "apache.conf"
        configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder,
                port=self.port,
                user=user,
                modules="\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED),
                issuer=issuer,
                certificate=certificate,
                key=certificate.with_name("key.pem"),
                client_id=client["client_id"],
                client_secret=client["client_secret"],
                passphrase=secrets.token_urlsafe(24),
            )
        )
        self.process = subprocess.Popen([BINARY, "-DFOREGROUND", "-f", configuration])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as caller:
                caller.settimeout(1)
                if caller.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self.process.poll() is None, self.errors()
            time.sleep(0.05)
        raise AssertionError(self.errors())

    def errors(self) -> str:
        log = self.folder / "error.log"
        return log.read_text() if log.exists() else "apache wrote no log"

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
