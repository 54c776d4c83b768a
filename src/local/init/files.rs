//! The files that belong to one boot of one machine. They are on `/run` and are mounted over their places in `/etc`, so
//! that none of them, least of all a key, ever gets into a layer.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::machine::Network;
use rustix::mount::mount_bind;

use crate::folders::APT_PROXY;
use crate::spec::{MachineSpec, Spec};
use crate::trouble::{Doing, Trouble};

/// The folder that holds the files.
const FOLDER: &str = "/run/automation";

/// The SSH server's configuration.
pub(crate) const SSHD_CONFIG: &str = "/run/automation/sshd_config";

/// The texts that must be read before the host's files are out of reach.
pub(crate) struct Secrets {
    host_key: String,
    resolver: String,
    /// The configuration of `apt`'s proxies; empty without any.
    proxies: String,
    /// The certificates of authorities that this computer trusts; empty for a machine that cannot reach anybody.
    certificates: String,
}

/// The places of the certificates that a computer trusts, by distribution: Debian and Ubuntu, Fedora, SUSE, Alpine.
const CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The certificates that this computer trusts. Where it keeps them elsewhere, the machine has those of its image alone.
fn certificates() -> String {
    CERTIFICATES.iter().find_map(|place| std::fs::read_to_string(place).ok()).unwrap_or_default()
}

impl Secrets {
    /// Reads the texts of `machine`.
    pub(crate) fn read(spec: &Spec, machine: &MachineSpec) -> Result<Self, Trouble> {
        let host_key = spec.folder().host_key();
        let proxies = match std::fs::read_to_string(spec.folder().apt_conf()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.doing(|| "read the configuration of `apt`")?,
        };
        Ok(Self {
            proxies,
            host_key: std::fs::read_to_string(&host_key).doing(|| format!("read `{}`", host_key.display()))?,
            resolver: match machine.network {
                Network::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
                Network::Loopback => "# This machine has no network but loopback.\n".to_owned(),
            },
            certificates: match machine.network {
                Network::Host => certificates(),
                Network::Loopback => String::new(),
            },
        })
    }
}

/// Writes the files. This process must be in the machine's root already.
pub(crate) fn write(spec: &Spec, machine: &MachineSpec, secrets: &Secrets) -> Result<(), Trouble> {
    let id = &spec.id;
    for folder in [FOLDER, "/run/sshd"] {
        std::fs::create_dir_all(folder).doing(|| format!("make `{folder}`"))?;
    }
    put("host_key", &secrets.host_key, 0o600)?;
    put("authorized_keys", &format!("{}\n", machine.authorized_key.trim_end()), 0o644)?;
    put("sshd_config", SSHD, 0o644)?;
    put_over("hostname", &format!("{id}\n"))?;
    put_over("resolv.conf", &secrets.resolver)?;
    let hosts = format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{id}\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
    );
    put_over("hosts", &hosts)?;
    // Nothing is mounted over the machine's own certificates: a package that brings newer ones could not replace them.
    if !secrets.certificates.is_empty() {
        put("ca-certificates.crt", &secrets.certificates, 0o644)?;
    }
    // Images that we did not make may lack the place, and then `apt` has no proxy there: a file made for it would get
    // into the layer.
    if !secrets.proxies.is_empty() && Path::new(APT_PROXY).is_file() {
        let source = put("apt.conf", &secrets.proxies, 0o600)?;
        mount_bind(&source, APT_PROXY).doing(|| format!("mount `{APT_PROXY}`"))?;
    }
    Ok(())
}

fn put(name: &str, text: &str, mode: u32) -> Result<PathBuf, Trouble> {
    let path = Path::new(FOLDER).join(name);
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(mode)))
        .doing(|| format!("write `{}`", path.display()))?;
    Ok(path)
}

/// Mounts a file over its place in `/etc`, which may be a link to a file that does not exist yet.
fn put_over(name: &str, text: &str) -> Result<(), Trouble> {
    let source = put(name, text, 0o644)?;
    let mut place = Path::new("/etc").join(name);
    for _ in 0..8 {
        let Ok(target) = std::fs::read_link(&place) else { break };
        place = place.parent().unwrap_or(Path::new("/")).join(target);
    }
    if !place.exists() {
        let made = place.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&place, ""));
        made.doing(|| format!("make `{}`", place.display()))?;
    }
    mount_bind(&source, &place).doing(|| format!("mount `{}`", place.display()))
}

/// The configuration of the SSH server. Only keys log in; PAM is off because its modules need rights that a machine
/// lacks.
const SSHD: &str = "\
HostKey /run/automation/host_key
AuthorizedKeysFile /run/automation/authorized_keys
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
StrictModes yes
MaxSessions 100
MaxStartups 200
LoginGraceTime 30
PrintMotd no
PrintLastLog no
X11Forwarding no
LogLevel ERROR
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
";
