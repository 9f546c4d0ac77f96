//! TLS: not there yet, so only the values that leave it off are taken.

use crate::config::enums::TLS_AUTH;
use crate::config::kind::{Kind::*, any_text};
use crate::config::row::*;

rows! {
    /// The port for TLS connections; 0 for none.
    "tls-port": Int(0, 65_535), = "0", MUTABLE => only(["0"], "TLS is not supported");
    /// The server's certificate, as a PEM file.
    "tls-cert-file": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// The server's private key, as a PEM file.
    "tls-key-file": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// The passphrase of the private key.
    "tls-key-file-pass": Text(any_text), = "", MUTABLE | OMIT_EMPTY | SENSITIVE => only([""], "TLS is not supported");
    /// The certificate for outgoing connections.
    "tls-client-cert-file": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// The private key for outgoing connections.
    "tls-client-key-file": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// The passphrase of the private key for outgoing connections.
    "tls-client-key-file-pass": Text(any_text), = "", MUTABLE | OMIT_EMPTY | SENSITIVE => only([""], "TLS is not supported");
    /// Diffie-Hellman parameters.
    "tls-dh-params-file": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// The certificate authorities that clients are checked against, as a file.
    "tls-ca-cert-file": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// The certificate authorities that clients are checked against, as a directory.
    "tls-ca-cert-dir": Text(any_text), = "", MUTABLE | OMIT_EMPTY => only([""], "TLS is not supported");
    /// Whether clients must show a certificate.
    "tls-auth-clients": Enum(TLS_AUTH), = "yes", MUTABLE | DORMANT;
    /// Use TLS to the primary.
    "tls-replication": Bool, = "no", MUTABLE => only(["no"], "TLS is not supported");
    /// Use TLS on the cluster bus.
    "tls-cluster": Bool, = "no", MUTABLE => only(["no"], "TLS is not supported");
    /// The protocol versions to speak.
    "tls-protocols": Text(any_text), = "", MUTABLE | OMIT_EMPTY | DORMANT;
    /// The ciphers of TLS 1.2.
    "tls-ciphers": Text(any_text), = "", MUTABLE | OMIT_EMPTY | DORMANT;
    /// The cipher suites of TLS 1.3.
    "tls-ciphersuites": Text(any_text), = "", MUTABLE | OMIT_EMPTY | DORMANT;
    /// Prefer the server's order of ciphers.
    "tls-prefer-server-ciphers": Bool, = "no", MUTABLE | DORMANT;
    /// Let clients resume sessions.
    "tls-session-caching": Bool, = "yes", MUTABLE | DORMANT;
    /// How many sessions to keep; 0 for no limit.
    "tls-session-cache-size": Int(0, i32::MAX as i64), = "20480", MUTABLE | DORMANT;
    /// How many seconds a session can be resumed.
    "tls-session-cache-timeout": Int(0, i32::MAX as i64), = "300", MUTABLE | DORMANT;
}
