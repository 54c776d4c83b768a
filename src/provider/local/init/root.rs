//! The machine's root: an overlay over its layers, and what every system expects to find in it.

use std::path::Path;

use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount};

use super::{Init, dev};
use crate::model::machine::Network;
use crate::model::resource::ResourceKind;
use crate::provider::local::spec::{MachineSpec, Report};
use crate::provider::local::trouble::{Doing, Trouble};

/// What `mount` takes for options at most: a page, with its final NUL.
const LONGEST_OPTIONS: usize = 4095;

/// Mounts everything and makes it the root of this process.
pub fn make(init: &Init<'_>, machine: &MachineSpec, volume: Option<&Path>) -> Result<(), Trouble> {
    let spec = init.spec;
    let root = spec.folder().root();
    let layers: Vec<String> = machine.layers.iter().rev().map(|layer| format!("images/layers/{layer}/fs")).collect();
    overlay(init, &layers)?;
    for name in ["proc", "sys", "dev", "run", "tmp"] {
        make_folder(&root.join(name))?;
    }
    let (nosuid, nodev, noexec) = (MountFlags::NOSUID, MountFlags::NODEV, MountFlags::NOEXEC);
    mount("proc", root.join("proc"), "proc", nosuid | nodev | noexec, None)
        .doing(|| "mount `/proc`")
        .map_err(masked_proc)?;
    system(machine, &root)?;
    dev::make(&root.join("dev"), spec.ids.is_some(), volume)?;
    let run_mode = c"mode=755,size=25%";
    mount("tmpfs", root.join("run"), "tmpfs", nosuid | nodev, Some(run_mode)).doing(|| "mount `/run`")?;
    make_folder(&root.join("run/lock"))?;
    open_to_all(&root.join("run/lock"))?;
    // On disk, for builds fill it; outside the overlay, so that it never becomes part of a layer.
    open_to_all(&spec.folder().tmp())?;
    mount_bind(spec.folder().tmp(), root.join("tmp")).doing(|| "mount `/tmp`")?;
    enter(&root)?;
    protect_host();
    rustix::system::sethostname(spec.id.as_str().as_bytes()).doing(|| "set the host name")
}

fn make_folder(path: &Path) -> Result<(), Trouble> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(error) if error != rustix::io::Errno::EXIST => {
            Err(Trouble::new(format!("cannot make `{}`: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn open_to_all(path: &Path) -> Result<(), Trouble> {
    rustix::fs::chmod(path, Mode::from_raw_mode(0o1777)).doing(|| format!("open `{}` to all", path.display()))
}

/// Mounts the overlay over `layers`, topmost first. Its paths are relative to the state directory: short, and free of
/// the characters `:` and `,` that separate options, whatever the state directory is called.
pub fn overlay(init: &Init<'_>, layers: &[String]) -> Result<(), Trouble> {
    let spec = init.spec;
    rustix::process::chdir(&spec.state).doing(|| format!("change to `{}`", spec.state.display()))?;
    if let Some(missing) = layers.iter().find(|layer| !Path::new(layer).is_dir()) {
        return Err(Trouble::new(format!("the layer `{missing}` is not there")));
    }
    let folder = format!("machines/{}", spec.id);
    let options = |extra: &str| {
        let lower = layers.join(":");
        format!("lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work,index=off{extra}")
    };
    // Only the superuser may use `trusted` attributes; all others keep the overlay's notes in `user` attributes.
    let notes = if spec.ids.is_some() { ",userxattr" } else { ",redirect_dir=off,metacopy=off" };
    // `volatile` spares every wait for the disk: a machine's changes are for now, and a layer is synced when committed.
    let attempts = [format!("{notes},volatile"), notes.to_owned(), String::new()];
    let mut last = rustix::io::Errno::INVAL;
    for extra in &attempts {
        let options = options(extra);
        if options.len() > LONGEST_OPTIONS {
            return Err(Trouble::new(format!("{} layers are more than one overlay can name", layers.len())));
        }
        let options = std::ffi::CString::new(options).doing(|| "mount the overlay")?;
        match mount("overlay", spec.folder().root(), "overlay", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => {
                let locator = spec.folder().root().display().to_string();
                init.tell(&Report::Present { kind: ResourceKind::Mount, locator });
                return Ok(());
            }
            Err(error) => last = error,
        }
        if last != rustix::io::Errno::INVAL {
            break;
        }
    }
    Err(no_overlay(&spec.state, last))
}

/// The overlay cannot be mounted: names the file system, which is the usual reason.
pub fn no_overlay(state: &Path, error: rustix::io::Errno) -> Trouble {
    let kind =
        crate::provider::local::computer::file_system_of(state).unwrap_or_else(|| "an unknown file system".to_owned());
    Trouble::new(format!("cannot mount an overlay in `{}` (on {kind}): {error}", state.display())).hint(
        "Choose a state directory on another file system with `--state-path`, for example on ext4, xfs, btrfs or tmpfs; \
         an overlay cannot lie on another overlay, as in a container, nor on NFS.",
    )
}

/// `/sys`, read-only. A fresh one needs a network namespace that is one's own; else the host's is shown.
fn system(machine: &MachineSpec, root: &Path) -> Result<(), Trouble> {
    let point = root.join("sys");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    if mount("sysfs", &point, "sysfs", flags, None).is_ok() {
        return Ok(());
    }
    let shown = mount_bind_recursive("/sys", &point);
    match machine.network {
        Network::Host => shown.doing(|| "show the host's `/sys`"),
        // Nothing that a test machine does depends on it; a container may hide it.
        Network::Loopback => Ok(()),
    }
}

/// Makes `root` this process's root and lets go of the old one.
fn enter(root: &Path) -> Result<(), Trouble> {
    rustix::process::chdir(root).doing(|| "enter the machine's root")?;
    rustix::process::pivot_root(".", ".").doing(|| "change the root")?;
    unmount(".", UnmountFlags::DETACH).doing(|| "leave the host's root")?;
    rustix::process::chdir("/").doing(|| "change to `/`")
}

/// Keeps what runs on the machine, also as root, from changing the host's kernel by accident: a package's installation
/// sets kernel parameters where it can. This is no wall against malice.
fn protect_host() {
    for path in ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"] {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if mount_bind(path, path).is_ok() {
            let _ = mount_remount(path, flags, c"");
        }
    }
}

/// Why a fresh `/proc` is refused to an ordinary user.
pub fn masked_proc(trouble: Trouble) -> Trouble {
    trouble.hint("In a container `/proc` must not be masked: run outside of it, or give it `--privileged`.")
}
