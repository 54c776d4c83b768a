//! What the agent of Systems Manager starts on a machine, by a Python for Windows.

use model::exit::Exit;
use model::task::Command;
use support::commands::{LIMIT, run, try_connect};
use support::wine::{PYTHON, Wine};

use super::text;

/// Reads a file as the program does, while another process has it for itself: for a moment, and for longer than anybody waits.
const READ: &str = r#"
import ctypes, sys, threading, time
source = open(sys.argv[1], encoding="utf-8").read()
# Its functions, without what it does with its words.
exec(compile(source[: source.index("if sys.argv[1:2]")], "ssm_command.py", "exec"))
BUSY = 2
kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.CreateFileW.restype = ctypes.c_void_p
path = sys.argv[1] + ".status"
write(path, b"ended 0")
def hold(seconds):
    # 0x80000000 is the right to read, 3 that the file must be there; nothing is shared.
    handle = kernel.CreateFileW(path, 0x80000000, 0, None, 3, 0, None)
    assert handle not in (None, ctypes.c_void_p(-1).value), ctypes.get_last_error()
    threading.Timer(seconds, kernel.CloseHandle, [ctypes.c_void_p(handle)]).start()
hold(0.5)
print(read(path).decode(), read(path + ".none"), flush=True)
hold(4)
try:
    read(path)
except PermissionError:
    print("refused", flush=True)
"#;

#[tokio::test]
async fn a_file_that_is_just_being_named_is_waited_for() {
    let Some(wine) = Wine::start(PYTHON, true) else { return };
    let (folder, path) = wine.folder();
    let source = support::root().join("remote/windows/ssm_command.py");
    std::fs::copy(source, folder.path().join("program.py")).unwrap();
    let connection = try_connect(&wine.machine(), LIMIT, false).await.unwrap();
    let command = Command::new("python").args(["-c", READ]).arg(format!("{path}/program.py"));
    let done = run(&*connection, &command).await;
    assert_eq!((text(done.stderr).as_str(), done.exit), ("", Exit::Code(0)));
    assert_eq!(text(done.stdout).replace('\r', ""), "ended 0 b''\nrefused\n");
}
