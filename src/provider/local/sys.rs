//! The few system calls that no safe wrapper covers. All of this crate's part of `unsafe` for processes is here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of a [`fork`] this is.
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, told of the new one.
    Parent(Pid),
}

/// Splits the process in two. Only for processes of a single thread, which the guard and its machine are.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the guard runs a single thread, so that no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or_else(|| io::Error::other("fork gave no process id")),
    }
}

/// Ends the process at once, without running what is registered for its end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Leaves the shared namespaces that `flags` names.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: `flags` never holds `FILES`, whose sharing other code could rely upon.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Gives every signal its ordinary meaning. What the driver's parent ignores or blocks is no matter of a machine's, and an
/// ignored signal would not even be told.
pub fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler is set, and a number that cannot be set is refused without harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Blocks `signals` and gives a descriptor that becomes readable when one of them arrives.
pub fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by `sigemptyset` before any use, and outlives the calls that read it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// The signals that have arrived at `fd`, which [`signal_fd`] made.
pub fn arrived(fd: BorrowedFd<'_>) -> Vec<i32> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut signals = Vec::new();
    let mut buffer = [0_u8; SIZE];
    while let Ok(SIZE) = rustix::io::read(fd, &mut buffer) {
        let number = buffer.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
        signals.push(i32::try_from(number).unwrap_or_default());
    }
    signals
}

/// Seconds since boot, with the time that the computer slept.
pub fn boot_clock() -> f64 {
    clock(libc::CLOCK_BOOTTIME)
}

/// Seconds since boot, without the time that the computer slept.
pub fn awake_clock() -> f64 {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result. Both clocks exist on every kernel that runs namespaces.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Brings the network interface `lo` of the present network namespace up.
pub fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero `ifreq` is valid; the name fits with its final NUL; both calls read and write only `request`.
    unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// An ioctl whose argument is a number or nothing; gives what the call gave.
pub fn ioctl_number(fd: impl AsFd, request: u64, argument: i64) -> io::Result<i32> {
    // SAFETY: callers name requests that take no pointer, so that the kernel touches no memory of ours.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// An ioctl that reads or writes one plain structure.
///
/// # Safety
///
/// `T` must be the very structure (`repr(C)`) that `request` is documented to take.
pub unsafe fn ioctl_struct<T>(fd: impl AsFd, request: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: the caller vouches for the structure; the reference is valid for the length of the call.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the mount at `path`, and with `recursive` every mount below it, read-only or writable.
pub fn set_read_only(path: &std::ffi::CStr, read_only: bool, recursive: bool) -> io::Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let mut attr = MountAttr { set: 0, clear: 0, propagation: 0, userns: 0 };
    if read_only {
        attr.set = MOUNT_ATTR_RDONLY
    } else {
        attr.clear = MOUNT_ATTR_RDONLY
    }
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is the kernel's `struct mount_attr`, its size is passed, the path is NUL-terminated.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw mut attr,
            size_of::<MountAttr>(),
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
