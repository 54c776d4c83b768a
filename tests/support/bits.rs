//! What of a computer the stand-in for Windows machines needs: Wine has programs of 64 and of 32 bits in it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;

/// Whether a program of this computer is on the path.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Why this computer has no stand-ins for Windows machines.
pub(crate) fn missing_for_standins() -> Option<String> {
    static RUNS: OnceLock<bool> = OnceLock::new();
    reason(std::env::consts::ARCH, || *RUNS.get_or_init(|| runs(&program())))
}

/// The same of a computer with these processors, which `runs` programs of 32 bits or not.
pub fn reason(arch: &str, runs: impl Fn() -> bool) -> Option<String> {
    let needs = "a stand-in for Windows machines needs";
    if arch != "x86_64" {
        return Some(format!("{needs} a computer with x86-64, and this one has {arch}"));
    }
    (!runs()).then(|| format!("{needs} a kernel that runs programs of 32 bits (i386), and this one does not"))
}

/// The smallest program of 32 bits: it ends with 0.
fn program() -> Vec<u8> {
    // mov eax, 1 (exit); xor ebx, ebx; int 0x80
    let code = [0xB8, 1, 0, 0, 0, 0x31, 0xDB, 0xCD, 0x80];
    let (head, top) = (52 + 32, 0x0804_8000_u32);
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let halves = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let whole = head + 9;
    [
        b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(),
        halves(&[2, 3]),
        words(&[1, top + head, 52, 0, 0]),
        halves(&[52, 32, 1, 0, 0, 0]),
        words(&[1, 0, top, top, whole, whole, 5, 0x1000]),
        code.to_vec(),
    ]
    .concat()
}

/// Whether this computer runs a program that is in one file.
pub fn runs(program: &[u8]) -> bool {
    let mut file = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o700)).tempfile().unwrap();
    file.write_all(program).unwrap();
    let path = file.into_temp_path();
    // A process that another thread starts at this moment may hold the file open for writing.
    for _ in 0..50 {
        match Command::new(&path).status() {
            Ok(status) => return status.success(),
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Err(_) => return false,
        }
    }
    false
}
