//! Loop devices, by which a file looks like a disk.

#![expect(unsafe_code, reason = "the kernel fills in a structure")]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::folders::entries;
use crate::sys;
use crate::trouble::{Doing, Trouble};

const LOOP_CLR_FD: u64 = 0x4C01;
const LOOP_CONFIGURE: u64 = 0x4C0A;
const LOOP_CTL_GET_FREE: u64 = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device that the kernel detaches when its last user closes it. This value is such a user.
pub(crate) struct LoopDevice {
    /// For example `/dev/loop3`.
    pub path: PathBuf,
    /// Keeps it attached.
    _device: OwnedFd,
}

/// How many times another process may take the free device between our asking for it and our taking it.
const ATTEMPTS: u32 = 50;

/// Makes a sparse file of `bytes` bytes.
pub(crate) fn make_backing(path: &Path, bytes: u64) -> Result<(), Trouble> {
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600);
    let file = file.open(path).doing(|| format!("create `{}`", path.display()))?;
    file.set_len(bytes).doing(|| format!("make `{}` {bytes} bytes long", path.display()))
}

/// Attaches a file to a free loop device.
pub(crate) fn attach(backing: &Path) -> Result<LoopDevice, Trouble> {
    let file =
        File::options().read(true).write(true).open(backing).doing(|| format!("open `{}`", backing.display()))?;
    for _ in 0..ATTEMPTS {
        let path = find_free()?;
        let device = File::options().read(true).write(true).open(&path).map_err(|error| {
            Trouble::new(format!("cannot open `{}`: {error}", path.display()))
                .hint("Give this computer or container its loop devices, or choose `--filesystem default` or `tmpfs`.")
        })?;
        match configure(&device, &file, backing) {
            Ok(()) => return Ok(LoopDevice { path, _device: device.into() }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(Trouble::new(format!("cannot attach `{}`: {error}", path.display()))),
        }
    }
    Err(Trouble::new("cannot find a loop device that stays free"))
}

/// Finds a loop device that nobody uses at this moment.
pub(crate) fn find_free() -> Result<PathBuf, Trouble> {
    let control = File::options().read(true).write(true).open("/dev/loop-control").map_err(|error| {
        Trouble::new(format!("cannot open `/dev/loop-control`: {error}"))
            .hint("Load the kernel's loop driver (`modprobe loop`), or choose `--filesystem default` or `tmpfs`.")
    })?;
    let number = sys::ioctl_number(&control, LOOP_CTL_GET_FREE, 0).doing(|| "find a free loop device")?;
    Ok(PathBuf::from(format!("/dev/loop{number}")))
}

fn configure(device: &File, file: &File, backing: &Path) -> std::io::Result<()> {
    let mut name = [0_u8; 64];
    for (to, from) in name.iter_mut().take(63).zip(backing.as_os_str().as_bytes()) {
        *to = *from;
    }
    let mut config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).unwrap_or_default(),
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR,
            file_name: name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: `LOOP_CONFIGURE` takes a `struct loop_config`, which `LoopConfig` lays out.
    unsafe { sys::ioctl_struct(device, LOOP_CONFIGURE, &mut config) }
}

/// Detaches a loop device; the kernel delays that until its last user is gone.
pub(crate) fn detach(device: &Path) -> std::io::Result<()> {
    let device = File::open(device)?;
    sys::ioctl_number(&device, LOOP_CLR_FD, 0).map(drop)
}

/// An attached loop device and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    /// For example `/dev/loop3`.
    pub device: PathBuf,
    /// The file behind the device, also where it was deleted.
    pub backing: PathBuf,
}

/// The loop devices whose file is below `folder`.
pub(crate) fn attached_below(folder: &Path) -> Result<Vec<Attached>, Trouble> {
    let mut found = Vec::new();
    for entry in entries(Path::new("/sys/block"))? {
        if !entry.file_name().to_string_lossy().starts_with("loop") {
            continue;
        }
        let Some(backing) = backing(&entry.path())? else { continue };
        if backing.starts_with(folder) {
            found.push(Attached { device: Path::new("/dev").join(entry.file_name()), backing });
        }
    }
    Ok(found)
}

/// The file behind the loop device that `/sys` shows at `device`; `None` when it is detached.
fn backing(device: &Path) -> Result<Option<PathBuf>, Trouble> {
    let path = device.join("loop/backing_file");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
            Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes))))
        }
        // The device may have been detached since the folder was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => Ok(None),
        Err(error) => Err(error).doing(|| format!("read `{}`", path.display())),
    }
}
