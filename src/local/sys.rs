//! The few system calls that no safe wrapper covers. All `unsafe` of this crate that concerns processes is here.

#![expect(unsafe_code, reason = "calls of the kernel that no safe crate has")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// The side that a process has after a [`fork`].
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old process, with the id of the new one.
    Parent(Pid),
}

/// Splits the process in two. Only for processes of a single thread, which the guard and its machine are.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the guard runs a single thread, so that no lock can be held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid).map(Fork::Parent).ok_or_else(|| io::Error::other("fork gave no process id")),
    }
}

/// Splits the process in two, with the child in new namespaces. Unlike those of [`unshare`], all of them belong to the
/// user namespace that is made with them, and the child is the first process of its PID namespace. Only for processes
/// of a single thread.
pub(crate) fn fork_into(namespaces: UnshareFlags) -> io::Result<Fork> {
    let flags = libc::c_long::from(libc::SIGCHLD) | libc::c_long::from(namespaces.bits());
    // SAFETY: without `CLONE_VM` the child has a copy of all memory, as after `fork`; no pointer is passed. The further
    // work of the C library's `fork` concerns other threads, of which there are none.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .map(Fork::Parent)
            .ok_or_else(|| io::Error::other("clone gave no process id")),
    }
}

/// Ends the process at once, without running the functions that are registered for its end.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}

/// Leaves the shared namespaces that `flags` names.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: `flags` never holds `FILES`, whose sharing other code could rely upon.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Blocks `signals` and returns a descriptor that becomes readable when one of them arrives.
pub(crate) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
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
pub(crate) fn read_signals(fd: BorrowedFd<'_>) -> Vec<i32> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut signals = Vec::new();
    let mut buffer = [0_u8; SIZE];
    while let Ok(SIZE) = rustix::io::read(fd, &mut buffer) {
        let number = buffer.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
        signals.push(i32::try_from(number).unwrap_or_default());
    }
    signals
}

/// Seconds since boot, including the time that the computer slept.
pub(crate) fn boot_clock() -> f64 {
    clock(libc::CLOCK_BOOTTIME)
}

/// Seconds since boot, without the time that the computer slept.
pub(crate) fn awake_clock() -> f64 {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result. Both clocks exist on every kernel that runs namespaces.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Brings the network interface `lo` of the present network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
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

/// Makes an ioctl whose argument is a number or nothing; returns the result of the call.
pub(crate) fn ioctl_number(fd: impl AsFd, request: u64, argument: i64) -> io::Result<i32> {
    // SAFETY: callers name requests that take no pointer, so that the kernel touches none of our memory.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Makes an ioctl that reads or writes one plain structure.
///
/// # Safety
///
/// `T` must be the structure (`repr(C)`) that `request` is documented to take.
pub(crate) unsafe fn ioctl_struct<T>(fd: impl AsFd, request: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: the caller vouches for the structure; the reference is valid for the length of the call.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The changes that [`change_mount`] makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MountChange<'a> {
    /// The flags to set.
    pub set: MountAttrFlags,
    /// The flags to clear.
    pub clear: MountAttrFlags,
    /// The user namespace by which the mount maps the ids on the disk.
    pub ids: Option<BorrowedFd<'a>>,
    /// Whether the mounts below change as well.
    pub recursive: bool,
}

impl Default for MountChange<'_> {
    fn default() -> Self {
        Self { set: MountAttrFlags::empty(), clear: MountAttrFlags::empty(), ids: None, recursive: false }
    }
}

/// Changes a mount that `open_tree` has opened.
pub(crate) fn change_mount(tree: impl AsFd, change: MountChange<'_>) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let ids = change.ids.map_or(MountAttrFlags::empty(), |_| MountAttrFlags::MOUNT_ATTR_IDMAP);
    let mut attr = MountAttr {
        set: u64::from((change.set | ids).bits()),
        clear: u64::from(change.clear.bits()),
        propagation: 0,
        userns: change.ids.map_or(0, |ids| u64::try_from(ids.as_raw_fd()).unwrap_or_default()),
    };
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is the kernel's `struct mount_attr`, its size is passed, the path is NUL-terminated.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw mut attr,
            size_of::<MountAttr>(),
        )
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor but the three standard ones, since the process that started this one may have left some
/// open.
///
/// # Safety
///
/// Nothing in this process may own such a descriptor.
pub(crate) unsafe fn close_inherited() -> io::Result<()> {
    // SAFETY: the caller vouches that nobody uses the descriptors that are closed.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Restores the default action of every signal except SIGPIPE, which Rust programs ignore, and unblocks all.
pub(crate) fn reset_signals() -> io::Result<()> {
    for signal in
        (1..=libc::SIGRTMAX()).filter(|signal| !matches!(*signal, libc::SIGPIPE | libc::SIGKILL | libc::SIGSTOP))
    {
        // SAFETY: no handler is passed. Numbers that the C library reserves are refused, which does no harm.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by `sigemptyset` before it is read, and outlives the call.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Leaves the session keyring that this process has inherited for an empty one of its own.
pub(crate) fn leave_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: no name is passed, which asks for a new keyring without one.
    let answer =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the execution domain of this process to that of an ordinary Linux program.
pub(crate) fn reset_personality() {
    // SAFETY: takes a number and cannot fail for this one.
    unsafe { libc::personality(0) };
}

/// Installs `program` as a permanent filter for the system calls of this process and of all that it starts.
pub(crate) fn filter_calls(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, whose length is passed, and writes nothing.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets this process and all that it starts connect only to their own abstract Unix sockets. Such sockets belong to a
/// network and not to files, so that a machine on the host's network could otherwise connect to those of its user's
/// desktop. Requires Linux 6.12.
pub(crate) fn scope_abstract_sockets() -> io::Result<()> {
    #[repr(C)]
    struct Ruleset {
        files: u64,
        ports: u64,
        scoped: u64,
    }
    const LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    let rules = Ruleset { files: 0, ports: 0, scoped: LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET };
    // SAFETY: the structure is the kernel's `struct landlock_ruleset_attr`, its size is passed, and it is only read.
    let ruleset =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size_of::<Ruleset>(), 0) };
    let ruleset = i32::try_from(ruleset).map_err(io::Error::other)?;
    if ruleset < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above returned this descriptor, and nothing else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    // SAFETY: takes no pointer.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
