//! The trees of files of which a machine is made, as mounts that are not attached anywhere yet.
//!
//! An ordinary user's machine makes them itself: its root is the user, to whom the state directory belongs. Root of one
//! of root's machines is nobody on this computer, and may not even enter the state directory. There the guard makes the
//! trees in a separate mount namespace and hands them in. The layers on the disk belong to ids from 0 on, whoever bakes
//! and boots; mounts that map these to the machine's ids (Linux 5.19 or later for overlays) make both fit.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use model::machine::Network;
use rustix::fs::{CWD, Mode};
use rustix::mount::{
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount,
    open_tree,
};
use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use crate::hints;
use crate::spec::{IdMap, MachineSpec, Spec, SpecKind};
use crate::sys::{self, MountChange};
use crate::trouble::{Doing, Trouble};
use crate::{channel, computer};

/// The most bytes that `mount` accepts as options: a page, less the final NUL.
const LONGEST_OPTIONS: usize = 4095;

/// One tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tree {
    /// The overlay that is a machine's root.
    Root,
    /// A machine's `/tmp`: on the disk, because builds fill it, and outside the overlay, so that it never gets into a
    /// layer.
    Tmp,
    /// The computer's `/sys`, for a machine on its network.
    System,
    /// The file on which a second volume's file system is to be made.
    Disk,
    /// The second volume.
    Volume,
    /// The folder of a sandbox's machine, with an overlay over nothing in its `root`.
    Folder,
    /// The programs that were downloaded for a sandbox.
    Tools,
}

impl Tree {
    const ALL: [Self; 7] = [Self::Root, Self::Tmp, Self::System, Self::Disk, Self::Volume, Self::Folder, Self::Tools];

    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Tmp => "tmp",
            Self::System => "system",
            Self::Disk => "disk",
            Self::Volume => "volume",
            Self::Folder => "folder",
            Self::Tools => "tools",
        }
    }
}

/// The trees of a machine that are not attached yet.
#[derive(Debug, Default)]
pub(crate) struct MachineTrees(Vec<(Tree, OwnedFd)>);

impl MachineTrees {
    /// A collection of one tree.
    pub(crate) fn one(tree: Tree, mount: OwnedFd) -> Self {
        Self(vec![(tree, mount)])
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends all trees to the other end of `channel`.
    pub(crate) fn send(&self, channel: &OwnedFd) -> Result<(), Trouble> {
        for (tree, mount) in &self.0 {
            channel::send(channel, tree.name().as_bytes(), Some(mount.as_fd()))
                .doing(|| format!("hand in `{}`", tree.name()))?;
        }
        Ok(())
    }

    /// Adds the tree of a message of [`send`](Self::send).
    pub(crate) fn receive(&mut self, message: channel::Message) -> Result<(), Trouble> {
        let tree = Tree::ALL.into_iter().find(|tree| tree.name().as_bytes() == message.bytes);
        match (tree, message.descriptor) {
            (Some(tree), Some(mount)) => self.0.push((tree, mount)),
            _ => return Err(Trouble::new("the machine does not understand a message of its guard")),
        }
        Ok(())
    }

    /// Takes out a tree that must be there.
    pub(crate) fn take(&mut self, wanted: Tree) -> Result<OwnedFd, Trouble> {
        self.take_optional(wanted).ok_or_else(|| Trouble::new(format!("the machine got no `{}`", wanted.name())))
    }

    /// Takes out a tree, if it is there.
    pub(crate) fn take_optional(&mut self, wanted: Tree) -> Option<OwnedFd> {
        let at = self.0.iter().position(|(tree, _)| *tree == wanted)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Attaches a tree at `place`.
pub(crate) fn attach(tree: impl AsFd, place: impl AsRef<Path>) -> Result<(), Trouble> {
    let place = place.as_ref();
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(tree, c"", CWD, place, flags).doing(|| format!("mount `{}`", place.display()))
}

/// Makes the trees for `spec`, mapped to the ids of the user namespace `shown` where that is not this process's own.
///
/// Changes this process for good: its mounts, its folder and its user. Without `shown` it must be in a mount namespace
/// of its own; with `shown` it makes one.
pub(crate) fn make(spec: &Spec, shown: Option<BorrowedFd<'_>>) -> Result<MachineTrees, Trouble> {
    // Paths are relative to the state directory, so that they are short, and free of the characters `:` and `,`, which
    // separate options, whatever the state directory is called.
    rustix::process::chdir(&spec.state).doing(|| format!("change to `{}`", spec.state.display()))?;
    let maker = Maker { spec, folder: format!("machines/{}", spec.id), shown };
    if shown.is_some() {
        unshare_mounts()?;
    }
    match &spec.kind {
        SpecKind::Machine(machine) => maker.of_machine(machine),
        SpecKind::Sandbox(_) => maker.of_sandbox(),
    }
}

struct Maker<'a> {
    spec: &'a Spec,
    /// The machine's folder, relative to the state directory.
    folder: String,
    shown: Option<BorrowedFd<'a>>,
}

impl Maker<'_> {
    fn of_machine(&self, machine: &MachineSpec) -> Result<MachineTrees, Trouble> {
        let layers: Vec<String> =
            machine.layers.iter().rev().map(|layer| format!("images/layers/{layer}/fs")).collect();
        if let Some(missing) = layers.iter().find(|layer| !Path::new(layer).is_dir()) {
            return Err(Trouble::new(format!("the layer `{missing}` is not there")));
        }
        for layer in &layers {
            self.show(layer, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        }
        self.show(&self.folder, MountAttrFlags::empty())?;
        let mut trees = MachineTrees::default();
        if machine.network == Network::Host {
            trees.0.push((Tree::System, system()?));
        }
        self.overlay(&layers)?;
        trees.0.push((Tree::Root, copy(&format!("{}/root", self.folder), OpenTreeFlags::empty())?));
        trees.0.push((Tree::Tmp, copy(&format!("{}/tmp", self.folder), OpenTreeFlags::empty())?));
        if machine.volume.is_some() && self.spec.ids.is_some() {
            trees.0.push((Tree::Disk, copy(&format!("{}/volume.img", self.folder), OpenTreeFlags::empty())?));
        }
        // The trees hold no devices, and a device that a machine makes there must not work.
        for (_, tree) in &trees.0 {
            let set = MountAttrFlags::MOUNT_ATTR_NODEV;
            sys::change_mount(tree, MountChange { set, ..MountChange::default() }).doing(|| "allow no devices")?;
        }
        Ok(trees)
    }

    fn of_sandbox(&self) -> Result<MachineTrees, Trouble> {
        let empty = format!("{}/empty", self.folder);
        std::fs::create_dir(&empty).doing(|| format!("make `{empty}`"))?;
        self.show(&self.folder, MountAttrFlags::empty())?;
        let tools = "images/tools";
        let mut trees = MachineTrees::default();
        if Path::new(tools).is_dir() {
            self.show(tools, MountAttrFlags::empty())?;
            let tree = copy(tools, OpenTreeFlags::empty())?;
            let set = MountAttrFlags::MOUNT_ATTR_RDONLY;
            sys::change_mount(&tree, MountChange { set, ..MountChange::default() }).doing(|| "protect the tools")?;
            trees.0.push((Tree::Tools, tree));
        }
        self.overlay(&[empty])?;
        trees.0.push((Tree::Folder, copy(&self.folder, OpenTreeFlags::AT_RECURSIVE)?));
        Ok(trees)
    }

    fn show(&self, path: &str, set: MountAttrFlags) -> Result<(), Trouble> {
        show(path, self.shown, set).map_err(|error| show_error(&self.spec.state, &error))
    }

    /// Mounts the overlay over `layers`, topmost first.
    fn overlay(&self, layers: &[String]) -> Result<(), Trouble> {
        overlay(layers, &self.folder, self.spec.ids.as_ref(), self.shown.is_some())?
            .map_err(|error| overlay_error(&self.spec.state, error))
    }
}

/// Tries to make an overlay of the folders `lower`, `upper`, `work` and `root` in `folder`. Like [`make`], this changes
/// this process for good.
pub(crate) fn try_overlay(folder: &Path, ids: Option<&IdMap>, shown: Option<BorrowedFd<'_>>) -> Result<(), Trouble> {
    rustix::process::chdir(folder).doing(|| format!("change to `{}`", folder.display()))?;
    if shown.is_some() {
        unshare_mounts()?;
    }
    show(".", shown, MountAttrFlags::empty()).map_err(|error| show_error(folder, &error))?;
    // The current folder is still the covered one.
    rustix::process::chdir(folder).doing(|| format!("change to `{}`", folder.display()))?;
    overlay(&["lower".to_owned()], ".", ids, shown.is_some())?.map_err(|error| overlay_error(folder, error))?;
    std::fs::write("root/probe", "x").doing(|| "write to an overlay")
}

/// Gives this process mounts of its own.
fn unshare_mounts() -> Result<(), Trouble> {
    sys::unshare(UnshareFlags::NEWNS).doing(|| "make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).doing(|| "make the mounts private")
}

/// Mounts `path` over itself, with the ids on the disk mapped by the user namespace `shown`.
fn show(path: &str, shown: Option<BorrowedFd<'_>>, set: MountAttrFlags) -> std::io::Result<()> {
    if shown.is_none() {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags)?;
    sys::change_mount(&tree, MountChange { set, ids: shown, ..MountChange::default() })?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(move_mount(tree, c"", CWD, path, flags)?)
}

/// Mounts an overlay over `layers`, topmost first, with the folders `upper`, `work` and `root` of `folder`. The inner
/// error is the kernel's refusal of the mount, for which the caller has a hint.
fn overlay(
    layers: &[String],
    folder: &str,
    ids: Option<&IdMap>,
    shown: bool,
) -> Result<rustix::io::Result<()>, Trouble> {
    let notes = match ids {
        // Only the superuser may use `trusted` attributes; for all others the overlay keeps its notes in `user`
        // attributes.
        Some(_) if !shown => ",userxattr",
        Some(map) => {
            act_as(map)?;
            ",redirect_dir=off,metacopy=off"
        }
        None => ",redirect_dir=off,metacopy=off",
    };
    // `volatile` spares every wait for the disk: a machine's changes are temporary, and a layer is synced when
    // committed.
    let attempts = [format!("{notes},volatile"), notes.to_owned(), String::new()];
    let mut last = rustix::io::Errno::INVAL;
    for extra in &attempts {
        let lower = layers.join(":");
        let options = format!("lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work,index=off{extra}");
        if options.len() > LONGEST_OPTIONS {
            return Err(Trouble::new(format!("{} layers are more than one overlay can name", layers.len())));
        }
        let options = std::ffi::CString::new(options).doing(|| "mount the overlay")?;
        match mount("overlay", format!("{folder}/root"), "overlay", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => return Ok(Ok(())),
            Err(error) => last = error,
        }
        if last != rustix::io::Errno::INVAL {
            break;
        }
    }
    Ok(Err(last))
}

/// Becomes the machine's root without giving up a right: an overlay works as the user that mounts it, and on mapped
/// mounts only the machine's own users can own files.
fn act_as(map: &IdMap) -> Result<(), Trouble> {
    let doing = || "act as the machine's root";
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::from_raw(map.gid), Gid::ROOT).doing(doing)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::from_raw(map.uid), Uid::ROOT).doing(doing)?;
    let mut sets = rustix::thread::capabilities(None).doing(doing)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).doing(doing)
}

/// A mount of `path` that is attached nowhere.
fn copy(path: &str, flags: OpenTreeFlags) -> Result<OwnedFd, Trouble> {
    let flags = flags | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).doing(|| format!("open `{path}`"))
}

/// The computer's `/sys`, read-only. The mounts below it are included only where they cannot be left out, as in a user
/// namespace.
fn system() -> Result<OwnedFd, Trouble> {
    let tree = copy("/sys", OpenTreeFlags::empty()).or_else(|_| copy("/sys", OpenTreeFlags::AT_RECURSIVE))?;
    let set = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let change = MountChange { set, recursive: true, ..MountChange::default() };
    sys::change_mount(&tree, change).doing(|| "make the computer's `/sys` read-only")?;
    Ok(tree)
}

/// Makes every mount of this process read-only.
pub(crate) fn protect_everything() -> Result<(), Trouble> {
    let set = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let change = MountChange { set, recursive: true, ..MountChange::default() };
    let doing = || "make the host's files read-only";
    let root = open_tree(CWD, c"/", OpenTreeFlags::OPEN_TREE_CLOEXEC).doing(doing)?;
    sys::change_mount(root, change).doing(doing)
}

/// Makes the mount at `path` writable again.
pub(crate) fn make_writable(path: &Path) -> Result<(), Trouble> {
    let doing = || format!("keep `{}` writable", path.display());
    let tree = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLOEXEC).doing(doing)?;
    let clear = MountAttrFlags::MOUNT_ATTR_RDONLY;
    sys::change_mount(tree, MountChange { clear, ..MountChange::default() }).doing(doing)
}

/// Makes a folder where there is none.
pub(crate) fn make_folder(path: &Path) -> Result<(), Trouble> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Err(error) if error != rustix::io::Errno::EXIST => {
            Err(Trouble::new(format!("cannot make `{}`: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// The error where files cannot be shown with other ids; it names the file system, which is the usual reason.
fn show_error(state: &Path, error: &std::io::Error) -> Trouble {
    let kind = file_system(state);
    Trouble::new(format!("cannot show `{}` (on {kind}) with a machine's ids: {error}", state.display()))
        .hint(hints::UNCONFINED)
}

/// The error where the overlay cannot be mounted; it names the file system, which is the usual reason.
fn overlay_error(state: &Path, error: rustix::io::Errno) -> Trouble {
    let kind = file_system(state);
    Trouble::new(format!("cannot mount an overlay in `{}` (on {kind}): {error}", state.display())).hint(
        "Choose a state directory on another file system with `--state-path`, for example on ext4, xfs, btrfs or tmpfs; \
         an overlay cannot lie on another overlay, as in a container, nor on NFS.",
    )
}

fn file_system(path: &Path) -> String {
    computer::file_system_of(path).unwrap_or_else(|| "an unknown file system".to_owned())
}
