//! Makes the machine's root, and the mounts that every system expects in it.

use std::os::fd::AsFd;
use std::path::Path;

use model::machine::Network;
use model::resource::ResourceKind;
use rustix::fs::Mode;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{Init, confine, dev, masks};
use crate::spec::{GuardReport, MachineSpec};
use crate::trees::{MachineTrees, Tree, attach, make_folder};
use crate::trouble::{Doing, Trouble};

/// Mounts everything and makes it the root of this process.
///
/// Until this process changes its root, absolute paths such as `/dev` are the computer's, and relative ones such as
/// `dev` the machine's.
pub(crate) fn make(
    init: &Init<'_>,
    machine: &MachineSpec,
    mut trees: MachineTrees,
    device: Option<&Path>,
) -> Result<(), Trouble> {
    let root = trees.take(Tree::Root)?;
    attach(root.as_fd(), "/")?;
    rustix::process::fchdir(&root).doing(|| "enter the machine's root")?;
    drop(root);
    init.tell(&GuardReport::Present {
        kind: ResourceKind::Mount,
        locator: init.spec.folder().root().display().to_string(),
    });
    for name in ["proc", "sys", "dev", "run", "tmp"] {
        make_folder(Path::new(name))?;
    }
    let (nosuid, nodev, noexec) = (MountFlags::NOSUID, MountFlags::NODEV, MountFlags::NOEXEC);
    mount("proc", "proc", "proc", nosuid | nodev | noexec, None).doing(|| "mount `/proc`").map_err(add_proc_hint)?;
    match trees.take_optional(Tree::System) {
        Some(tree) => attach(tree, "sys")?,
        // A container may forbid this mount, and nothing on a test machine depends on it.
        None => {
            let _ = mount("sysfs", "sys", "sysfs", nosuid | nodev | noexec | MountFlags::RDONLY, None);
        }
    }
    dev::make(Path::new("dev"), init.spec.ids.is_some(), device)?;
    mount("tmpfs", "run", "tmpfs", nosuid | nodev, Some(c"mode=755,size=25%")).doing(|| "mount `/run`")?;
    make_folder(Path::new("run/lock"))?;
    open_to_all("run/lock")?;
    attach(trees.take(Tree::Tmp)?, "tmp")?;
    open_to_all("tmp")?;
    rustix::process::pivot_root(".", ".").doing(|| "change the root")?;
    unmount(".", UnmountFlags::DETACH).doing(|| "leave the host's root")?;
    rustix::process::chdir("/").doing(|| "change to `/`")?;
    if init.spec.ids.is_some() {
        confine::limit_namespaces()?;
    }
    if machine.network == Network::Loopback && init.spec.ids.is_some() {
        open_ports()?;
    }
    Ok(())
}

fn open_to_all(path: &str) -> Result<(), Trouble> {
    rustix::fs::chmod(path, Mode::from_raw_mode(0o1777)).doing(|| format!("open `{path}` to all"))
}

/// Lets every user of a machine with a network of its own bind every port and send echo requests, because nobody there,
/// root included, has rights over the network.
fn open_ports() -> Result<(), Trouble> {
    for (name, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 65535")] {
        let path = format!("/proc/sys/net/ipv4/{name}");
        std::fs::write(&path, value).doing(|| format!("set `{path}` to {value}"))?;
    }
    Ok(())
}

/// Keeps the programs of a privileged machine, also those of root, from changing the computer's kernel by accident: a
/// package's installation sets kernel parameters where it can. This does not protect against malice.
pub(crate) fn protect_host() -> Result<(), Trouble> {
    ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"].into_iter().try_for_each(masks::protect)
}

/// Adds the hint where a fresh `/proc` is refused to an ordinary user.
pub(crate) fn add_proc_hint(trouble: Trouble) -> Trouble {
    trouble.hint("In a container `/proc` must not be masked: run outside of it, or give it `--privileged`.")
}
