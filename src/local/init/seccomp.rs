//! The filter of system calls for a machine's processes. It refuses calls that no test and no package's installation
//! needs, and calls by which programs have escaped from namespaces before.
//!
//! The filter's program is assembled here: the checks beside those of numbers (foreign architectures, x32, single
//! arguments) would not be shorter as the table of rules of a library.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, EAFNOSUPPORT, ENOSYS, EPERM, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, sock_filter,
};

use crate::sys;
use crate::trouble::{Doing, Trouble};

/// The calls that fail with `EPERM`, as in other container runtimes.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_userfaultfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
];

/// The calls that fail with `ENOSYS`, so that programs use another way: `mount` uses the older call, and libraries for
/// `io_uring` use ordinary reads and writes.
const UNKNOWN: &[libc::c_long] = &[
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
];

/// The allowed families of sockets. All others are of no use to a test; some ignore network namespaces (`AF_VSOCK`
/// reaches the host of a virtual machine), and requesting one loads a module into the kernel.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET];

/// The allowed execution domains: Linux itself, 32-bit names, old version numbers, fixed addresses for debuggers; and
/// the query for the present one.
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0x4_0000, u32::MAX];

/// The refused requests to a terminal: `TIOCSTI` inserts input as if it was typed, `TIOCLINUX` changes the console.
const TERMINAL_REQUESTS: &[u32] = &[0x5412, 0x541C];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// The 32-bit architecture of the same processors, and the number of its call `set_thread_area`. A 64-bit `wine` makes this
/// call, and no other of that architecture, before it runs a 32-bit program for Windows; the call changes a segment of
/// its own thread only.
#[cfg(target_arch = "x86_64")]
const I386: u32 = 0x4000_0003;
#[cfg(target_arch = "x86_64")]
const I386_SET_THREAD_AREA: u32 = 243;

/// The first number of calls by x32, which is a second way to make nearly every call.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

/// The offsets of a call's number, architecture and arguments in the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const fn argument(index: u32) -> u32 {
    // This is the lower half of an argument. The arguments that are checked have 32 bits, and the kernel ignores the
    // upper half.
    16 + 8 * index
}

/// Installs the filter for this process and all that it starts.
pub(crate) fn install() -> Result<(), Trouble> {
    sys::filter_calls(&program()).doing(|| "filter system calls")
}

fn program() -> Vec<sock_filter> {
    let errno = |code: libc::c_int| SECCOMP_RET_ERRNO | code.unsigned_abs();
    // Another architecture numbers its calls differently, so that the checks below would not hold for its programs.
    let mut all = vec![load(ARCH)];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        jump(BPF_JEQ, I386, 0, 4),
        load(NUMBER),
        jump(BPF_JEQ, I386_SET_THREAD_AREA, 0, 1),
        end(SECCOMP_RET_ALLOW),
        end(SECCOMP_RET_KILL_PROCESS),
    ]);
    all.extend([jump(BPF_JEQ, ARCHITECTURE, 1, 0), end(SECCOMP_RET_KILL_PROCESS), load(NUMBER)]);
    #[cfg(target_arch = "x86_64")]
    all.extend([jump(BPF_JGE, X32, 0, 1), end(errno(ENOSYS))]);
    for (calls, code) in [(FORBIDDEN, EPERM), (UNKNOWN, ENOSYS)] {
        for call in calls {
            all.extend([jump(BPF_JEQ, number(*call), 0, 1), end(errno(code))]);
        }
    }
    let families: Vec<u32> = FAMILIES.iter().map(|family| family.unsigned_abs()).collect();
    all.extend(allow_only(libc::SYS_socket, 0, &families, errno(EAFNOSUPPORT)));
    all.extend(allow_only(libc::SYS_personality, 0, PERSONALITIES, errno(EPERM)));
    all.extend(refuse(libc::SYS_ioctl, 1, TERMINAL_REQUESTS, errno(EPERM)));
    all.push(end(SECCOMP_RET_ALLOW));
    all
}

/// Allows `call` only with one of `values` as its argument.
fn allow_only(call: libc::c_long, index: u32, values: &[u32], otherwise: u32) -> Vec<sock_filter> {
    decide_by_argument(call, index, values, SECCOMP_RET_ALLOW, otherwise)
}

/// Allows `call` unless its argument is one of `values`.
fn refuse(call: libc::c_long, index: u32, values: &[u32], then: u32) -> Vec<sock_filter> {
    decide_by_argument(call, index, values, then, SECCOMP_RET_ALLOW)
}

/// Decides `call` by one argument: `then` where that is one of `values`, otherwise `otherwise`. Other calls skip this
/// part.
fn decide_by_argument(call: libc::c_long, index: u32, values: &[u32], then: u32, otherwise: u32) -> Vec<sock_filter> {
    let mut body = vec![load(argument(index))];
    for value in values {
        body.extend([jump(BPF_JEQ, *value, 0, 1), end(then)]);
    }
    body.push(end(otherwise));
    let mut all = vec![jump(BPF_JEQ, number(call), 0, u8::try_from(body.len()).unwrap_or(u8::MAX))];
    all.extend(body);
    all
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

fn jump(test: u32, value: u32, when: u8, otherwise: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, when, otherwise)
}

fn end(answer: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, answer, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does, on a call's number, architecture and first two arguments.
    fn decide(number: u32, architecture: u32, arguments: [u32; 2]) -> u32 {
        let program = program();
        let (mut at, mut held) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    held = match step.k {
                        NUMBER => number,
                        ARCH => architecture,
                        16 => arguments[0],
                        24 => arguments[1],
                        other => panic!("offset {other}"),
                    }
                }
                code if code == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if held == step.k { step.jt } else { step.jf });
                }
                code if code == BPF_JMP | BPF_JGE | BPF_K => {
                    at += usize::from(if held >= step.k { step.jt } else { step.jf });
                }
                code if code == BPF_RET | BPF_K => return step.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn native(call: libc::c_long, arguments: [u32; 2]) -> u32 {
        decide(number(call), ARCHITECTURE, arguments)
    }

    #[test]
    fn what_tests_need_passes_and_what_leads_out_does_not() {
        let errno = |code: libc::c_int| SECCOMP_RET_ERRNO | code.unsigned_abs();
        for call in [libc::SYS_read, libc::SYS_mount, libc::SYS_clone, libc::SYS_setuid, libc::SYS_ptrace] {
            assert_eq!(native(call, [0, 0]), SECCOMP_RET_ALLOW, "{call}");
        }
        assert_eq!(native(libc::SYS_open_by_handle_at, [0, 0]), errno(EPERM));
        assert_eq!(native(libc::SYS_fsopen, [0, 0]), errno(ENOSYS));
        assert_eq!(native(libc::SYS_socket, [1, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(native(libc::SYS_socket, [40, 0]), errno(EAFNOSUPPORT));
        assert_eq!(native(libc::SYS_ioctl, [0, 0x5401]), SECCOMP_RET_ALLOW);
        assert_eq!(native(libc::SYS_ioctl, [0, 0x5412]), errno(EPERM));
        assert_eq!(native(libc::SYS_personality, [u32::MAX, 0]), SECCOMP_RET_ALLOW);
        assert_eq!(native(libc::SYS_personality, [0x40_0000, 0]), errno(EPERM));
    }

    #[test]
    fn no_other_way_to_make_a_call_gets_by() {
        assert_eq!(decide(5, 0x4000_0028, [0, 0]), SECCOMP_RET_KILL_PROCESS);
        #[cfg(target_arch = "x86_64")]
        {
            let x32 = X32 | number(libc::SYS_read);
            assert_eq!(decide(x32, ARCHITECTURE, [0, 0]), SECCOMP_RET_ERRNO | ENOSYS.unsigned_abs());
            assert_eq!(decide(I386_SET_THREAD_AREA, I386, [0, 0]), SECCOMP_RET_ALLOW);
            for other in (0..512).filter(|call| *call != I386_SET_THREAD_AREA) {
                assert_eq!(decide(other, I386, [0, 0]), SECCOMP_RET_KILL_PROCESS, "{other}");
            }
        }
    }
}
