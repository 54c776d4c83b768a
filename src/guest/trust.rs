//! The authorities that a machine trusts: what to do where it does not trust what it is shown, as behind a proxy with a certificate of its
//! own.

/// The certificates of the authorities that this computer trusts, on a machine of this computer that has its network.
pub const CERTIFICATES: &str = "/run/automation/ca-certificates.crt";

/// How programs say that they do not trust a certificate: OpenSSL and Python, curl, Node, Go, GnuTLS (`apt`, `git`), rustls (`cargo`).
const SIGNS: [&str; 8] = [
    "certificate verify failed",
    "SSL certificate problem",
    "SELF_SIGNED_CERT_IN_CHAIN",
    "UNABLE_TO_GET_ISSUER_CERT",
    "signed by unknown authority",
    "The certificate is NOT trusted",
    "server certificate verification failed",
    "UnknownIssuer",
];

/// What to do, where `output` says that a program did not trust a certificate.
pub fn advice(output: &str) -> Option<String> {
    let distrusts = SIGNS.iter().any(|sign| output.contains(sign));
    distrusts.then(|| {
        format!(
            "A program did not trust the certificate that it was shown, as behind a proxy with one of its own. On the network of this \
             computer a machine finds the certificates that this computer trusts in `{CERTIFICATES}`: name that file in `SSL_CERT_FILE`, and \
             in `PIP_CERT`, `CARGO_HTTP_CAINFO`, `NODE_EXTRA_CA_CERTS` or `GIT_SSL_CAINFO` for the programs that go by those; with \
             `--env NAME=FILE` for a command, by `export NAME=FILE` in a set-up."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_trust_a_certificate_is_told_where_others_are() {
        for said in [
            "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate",
            "curl: (60) SSL certificate problem: unable to get local issuer certificate",
            "x509: certificate signed by unknown authority",
            "fatal: unable to access: server certificate verification failed. CAfile: none",
            "invalid peer certificate: UnknownIssuer",
        ] {
            assert!(advice(said).is_some_and(|advice| advice.contains(CERTIFICATES)), "{said}");
        }
        assert_eq!(advice("make: *** No rule to make target"), None);
    }
}
