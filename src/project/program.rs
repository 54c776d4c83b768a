//! Calling the `hg`, the `git` and the `jj` of this computer.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::leash::Leash;
use model::base::text;
use model::fault::Fault;
use rustix::fs::MemfdFlags;
use rustix::process::Signal;
use tokio::process::Command;

/// The output of the program and its exit status.
pub(crate) struct HgOutput {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub code: Option<i32>,
}

/// An extension of Mercurial's that turns hooks off: no option of `hg` does.
const NO_HOOKS: &str = include_str!("mercurial/no_hooks.py");

/// The extension as a file that is nowhere but in this process, for as long as that lives; none where there can be no such file, and
/// where hooks run as they would by hand.
fn no_hooks() -> Option<String> {
    static FILE: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let make = || {
        let file = rustix::fs::memfd_create("no_hooks.py", MemfdFlags::CLOEXEC).ok()?;
        let mut rest = NO_HOOKS.as_bytes();
        while !rest.is_empty() {
            rest = rest.get(rustix::io::write(&file, rest).ok()?..)?;
        }
        Some(file)
    };
    let file = FILE.get_or_init(make).as_ref()?;
    Some(format!("extensions.automation_no_hooks=/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
}

/// Runs `hg` in `root` with plain output in UTF-8. The user's own configuration applies, for a repository may need its
/// extensions to be read; but for hooks, which are for what a person does.
pub(crate) async fn hg<A: AsRef<OsStr>>(root: &Path, args: &[A], limit: Duration) -> Result<HgOutput, Fault> {
    let mut command = Command::new("hg");
    command
        .arg("--cwd")
        .arg(root)
        .args(no_hooks().iter().flat_map(|extension| ["--config", extension.as_str()]))
        .args(["--noninteractive"])
        .args(args)
        .env("HGPLAIN", "1")
        .env_remove("HGPLAINEXCEPT")
        .env("HGENCODING", "utf-8")
        .stdin(Stdio::null());
    output_of(command, args, limit).await
}

/// Runs `jj` in `folder`, without a pager, colours or advice.
pub(crate) async fn jj(folder: &Path, args: &[&str], limit: Duration) -> Result<HgOutput, Fault> {
    let mut command = Command::new("jj");
    command.args(["--no-pager", "--color=never", "--quiet"]).args(args).current_dir(folder).stdin(Stdio::null());
    output_of(command, args, limit).await
}

/// The variables by which git's own hooks and scripts say where their repository is: the folder that is asked about is another one (`git rev-parse --local-env-vars`, without those that
/// configure).
const PLACES: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_SHALLOW_FILE",
];

/// Runs `git` in `root`.
pub(crate) async fn git<A: AsRef<OsStr>>(root: &Path, args: &[A], limit: Duration) -> Result<HgOutput, Fault> {
    git_with(root, args, (Stdio::null(), &[]), limit).await
}

/// The same with something to read on its standard input, and with variables.
pub(crate) async fn git_with<A: AsRef<OsStr>>(
    root: &Path,
    args: &[A],
    (input, variables): (Stdio, &[(&str, &Path)]),
    limit: Duration,
) -> Result<HgOutput, Fault> {
    let mut command = Command::new("git");
    // A program of the user's that watches the checkout is none of ours to start.
    command.arg("-C").arg(root).args(["-c", "core.fsmonitor=false"]).args(args).env("GIT_TERMINAL_PROMPT", "0");
    for name in PLACES {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdin(input);
    output_of(command, args, limit).await
}

/// Runs a program that reads a checkout.
async fn output_of<A: AsRef<OsStr>>(mut command: Command, args: &[A], limit: Duration) -> Result<HgOutput, Fault> {
    command
        .kill_on_drop(true)
        // Ended gently, so that it removes its locks of the repository.
        .leash(Signal::TERM);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let words = args.iter().map(|arg| arg.as_ref().to_string_lossy());
    let verb = words.into_iter().find(|word| !word.starts_with('-')).unwrap_or_default();
    let deadline = Deadline::after(limit, format!("`{program} {verb}` to end"));
    let output = deadline.bound(command.output()).await?.map_err(|error| {
        let fault = Fault::outside(format!("cannot run `{program}`, which reads the checkout"));
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound if program == "hg" => {
                fault.hint("Install Mercurial (`apt install mercurial`).")
            }
            std::io::ErrorKind::NotFound if program == "jj" => fault.hint(
                "Install it, or let Git lie beside it (`jj git colocation enable`): without either nobody says which files belong to the checkout.",
            ),
            std::io::ErrorKind::NotFound => fault.hint(format!("Install it (`apt install {program}`).")),
            _ => fault,
        };
        fault.because(error)
    })?;
    Ok(HgOutput { stdout: output.stdout, stderr: text::trim_output(&output.stderr), code: output.status.code() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hooks_of_a_checkout_do_not_run_when_it_is_read() {
        let (top, limit) = (tempfile::tempdir().unwrap(), Duration::from_secs(60));
        let made = std::process::Command::new("hg").args(["init"]).current_dir(top.path()).status();
        assert!(made.unwrap().success());
        let hooks = "[hooks]\npre-status.a = touch ran-before\npost-status = touch ran-after\npre-log = false\n";
        std::fs::write(top.path().join(".hg/hgrc"), hooks).unwrap();
        for args in [&["status"][..], &["log"]] {
            let said = hg(top.path(), args, limit).await.unwrap();
            assert_eq!((said.code, said.stderr.as_str(), said.stdout.len()), (Some(0), "", 0), "{args:?}");
        }
        assert!(!top.path().join("ran-before").exists() && !top.path().join("ran-after").exists());
    }
}
