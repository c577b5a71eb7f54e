"""Certificates of a cluster of one's own: an authority, and pairs of key and certificate that it signs."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Security


class Authority:
    """Signs certificates, valid for an hour.

    Parameters
    ----------
    folder
        Where the files go.
    name
        Of the authority; its files begin with it.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.file = folder / f"{name}.pem"
        certificate = _certificate(self._name, self._name, self._key, self._key, authority=True)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def pair(self, name: str) -> tuple[Path, Path]:
        """Return the files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(_name(name), self._name, key, self._key, authority=False)
        files = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def security(self, name: str) -> Security:
        """Return what a client of that name shows."""
        certificate, key = self.pair(name)
        return Security(
            tls_ca_file=str(self.file), tls_client_cert=str(certificate), tls_client_key=str(key),
            require_encryption=True,
        )  # fmt: skip

    def configuration(self, name: str) -> dict[str, str]:
        """Return the same as settings of Dask's."""
        certificate, key = self.pair(name)
        return {
            "distributed.comm.tls.ca-file": str(self.file),
            "distributed.comm.tls.client.cert": str(certificate),
            "distributed.comm.tls.client.key": str(key),
        }

    def arguments(self, name: str) -> list[str]:
        """Return what ``dask scheduler`` and ``dask worker`` take."""
        certificate, key = self.pair(name)
        return ["--tls-ca-file", str(self.file), "--tls-cert", str(certificate), "--tls-key", str(key)]


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
