//! The programs that say which files belong to a folder.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What Git prints; none where it fails. Pathspecs are names.
pub(super) fn git<S: AsRef<OsStr>>(top: &Path, words: &[S]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    command.args(words).current_dir(top).env("GIT_LITERAL_PATHSPECS", "1").stdin(Stdio::null());
    for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        command.env(format!("{name}_NAME"), "ann").env(format!("{name}_EMAIL"), "ann@example.org");
    }
    let done = command.output().unwrap();
    done.status.success().then_some(done.stdout)
}

/// An `hg` that stays, because starting one takes longer than all that it is asked here (`hg help cmdserver`).
pub(super) struct Hg {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Hg {
    pub(super) fn start() -> Self {
        let mut command = Command::new("hg");
        command.args(["serve", "--cmdserver", "pipe", "--config", "ui.interactive=no"]).current_dir("/");
        command.env("HGPLAIN", "1").env("HGENCODING", "utf-8").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut hg = Self { child, to, from };
        let (channel, _) = hg.message();
        assert_eq!(channel, b'o', "it says hello");
        hg
    }

    fn message(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.from.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        // Input is asked for by the capital letters, and there is none.
        assert!(!head[0].is_ascii_uppercase(), "hg asks for input");
        let mut bytes = vec![0; length as usize];
        self.from.read_exact(&mut bytes).unwrap();
        (head[0], bytes)
    }

    /// What it prints, whatever it comes to.
    pub(super) fn run<S: AsRef<OsStr>>(&mut self, top: &Path, words: &[S]) -> Vec<u8> {
        let mut line = [b"--cwd", top.as_os_str().as_bytes()].join(&0);
        for word in words {
            line.push(0);
            line.extend_from_slice(word.as_ref().as_bytes());
        }
        let length = u32::try_from(line.len()).unwrap().to_be_bytes();
        self.to.write_all(&[b"runcommand\n", &length[..], &line].concat()).unwrap();
        self.to.flush().unwrap();
        let mut printed = Vec::new();
        loop {
            match self.message() {
                (b'o', bytes) => printed.extend(bytes),
                (b'r', _) => return printed,
                _ => {}
            }
        }
    }
}

impl Drop for Hg {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
