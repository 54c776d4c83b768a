//! Files that look like credentials, by what they are called: they must not leave this computer unseen.

use std::io::Read;
use std::path::Path;

/// Files of programs that keep a secret in them, by their names: frameworks, curl, PostgreSQL, PyPI, npm, Mercurial, Docker, web servers, Vault, Git, SSH, Kubernetes, Google's cloud.
const NAMES: [&str; 17] = [
    ".env",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".pypirc",
    ".npmrc",
    ".hgrc",
    ".dockercfg",
    ".htpasswd",
    ".vault-token",
    ".git-credentials",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "kubeconfig",
    "credentials.json",
];

/// The same where the folder around them counts too.
const PLACES: [&str; 5] = [
    ".aws/credentials",
    ".docker/config.json",
    ".kube/config",
    ".config/gcloud/application_default_credentials.json",
    ".azure/accessTokens.json",
];

/// Ends of the names of key stores, of files with variables, and of Terraform's state.
const STORES: [&str; 8] = ["p12", "pfx", "jks", "keystore", "kdbx", "ppk", "env", "tfstate"];

/// Ends of the names of files that may hold a private key.
const KEYS: [&str; 3] = ["pem", "key", "p8"];

/// Ends of the names of `.env` files that are there to be read by others.
const EXAMPLES: [&str; 5] = ["example", "sample", "template", "dist", "defaults"];

/// How much of a key's file is looked at; a private key begins in its first lines.
const LOOKED_AT: u64 = 64 << 10;

/// Whether the file `path` below `top` looks like a credential.
pub(crate) fn is_one(top: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let whole = top.join(path);
    if !whole.is_file() {
        return false;
    }
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    let is_environment = name.starts_with(".env.") && !EXAMPLES.contains(&end);
    NAMES.contains(&name)
        || is_environment
        || PLACES.iter().any(|place| path.ends_with(place))
        || STORES.contains(&end)
        || KEYS.contains(&end) && holds_a_private_key(&whole)
}

fn holds_a_private_key(path: &Path) -> bool {
    let mut read = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return false };
    // A file that cannot be read cannot be sent either.
    file.take(LOOKED_AT).read_to_end(&mut read).is_ok() && read.windows(KEY_MARK.len()).any(|window| window == KEY_MARK)
}

/// What stands in the first line of every private key in PEM (RFC 7468).
const KEY_MARK: &[u8] = b"PRIVATE KEY-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_and_of_keys_what_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        let is = |name: &str, text: &str| {
            let path = top.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            is_one(top, Path::new(name))
        };
        let secret = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
        for name in [
            ".env",
            ".env.local",
            "a/.netrc",
            "id_ed25519",
            "x.p12",
            "home/.aws/credentials",
            "prod.env",
            ".npmrc",
            "a.tfstate",
            ".docker/config.json",
        ] {
            assert!(is(name, ""), "{name}");
        }
        assert!(is("a.pem", secret) && is("b.key", &format!("text\n{secret}")));
        for name in [".env.example", "env", "id_ed25519.pub", "credentials", "config.json", "c.pem", "d.key", "a.txt"] {
            assert!(!is(name, "-----BEGIN CERTIFICATE-----\n"), "{name}");
        }
        std::fs::create_dir(top.join("e.pfx")).unwrap();
        assert!(!is_one(top, Path::new("e.pfx")) && !is_one(top, Path::new("gone.pfx")));
    }
}
