//! Windows: its programs in `remote/windows`, and how a machine with it is spoken to.
//!
//! What is not Windows' own is tested with this computer's Python behind a real OpenSSH server, `portable`; the rest under wine with
//! the Python for Windows, `wine`.

mod agent;
mod embed;
mod packages;
mod portable;
mod supervise;
mod wine;

use model::connection::Connection;
use model::machine::{Machine, Platform};
use support::commands::{LIMIT, try_connect};
use support::sshd::Sshd;

/// The machine that `sshd` plays, as one with Windows.
fn machine(sshd: &Sshd) -> Machine {
    Machine { platform: Platform::Windows, ..sshd.machine() }
}

/// A connection to it.
async fn connect(sshd: &Sshd) -> Box<dyn Connection> {
    try_connect(&machine(sshd), LIMIT, false).await.unwrap()
}

/// Bytes that a machine printed.
fn text(bytes: impl Into<Vec<u8>>) -> String {
    String::from_utf8(bytes.into()).unwrap()
}

/// Forty arguments at which shells, command lines and encodings break.
fn torture() -> Vec<String> {
    let words = [
        "",
        " ",
        "a b",
        "\t",
        "\n",
        "\r\n",
        "a\nb",
        "%PATH%",
        "%%",
        "%",
        "100%PATH%",
        "%~dp0",
        "!x!",
        "!",
        "^",
        "^^",
        "a^&b",
        "&",
        "& echo x",
        "|",
        "||",
        "<in",
        ">out",
        "2>&1",
        "\"",
        "\"\"",
        "\"a b\"",
        "\\\"",
        "\\",
        "\\\\",
        "a\\",
        "a b\\",
        "C:\\x y\\\\",
        "a\\\\\"b",
        "'it''s'",
        "$(id) `id` $HOME",
        "*.py ?",
        "-c",
        "\u{e9}\u{df}\u{20ac} \u{65e5}\u{672c} \u{1f600}",
        "a,b;c=d(e)~@#",
    ];
    words.map(str::to_owned).to_vec()
}

/// A Python program that prints its arguments: for each the number of its bytes in UTF-8, and those bytes.
const TELL: &str = "import sys\nfor word in sys.argv[1:]:\n    data = word.encode('utf-8')\n    \
                    sys.stdout.buffer.write(b'%d ' % len(data) + data + b'\\0')";

/// What [`TELL`] prints of `words`.
fn told(words: &[String]) -> String {
    words.iter().map(|word| format!("{} {word}\0", word.len())).collect()
}
