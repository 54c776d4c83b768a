//! Calling the `hg` of this computer.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use model::base::deadline::Deadline;
use model::base::leash::Leash;
use model::base::text;
use model::fault::Fault;
use rustix::process::Signal;
use tokio::process::Command;

/// The output of `hg` and its exit status.
pub(crate) struct HgOutput {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub code: Option<i32>,
}

/// Runs `hg` in `root` with plain output in UTF-8. The user's own configuration applies: a repository may need its
/// extensions to be read.
pub(crate) async fn hg(root: &Path, args: &[&str], limit: Duration) -> Result<HgOutput, Fault> {
    let mut command = Command::new("hg");
    command
        .arg("--cwd")
        .arg(root)
        .args(["--noninteractive"])
        .args(args)
        .env("HGPLAIN", "1")
        .env_remove("HGPLAINEXCEPT")
        .env("HGENCODING", "utf-8")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        // Ended gently, so that it removes its locks of the repository.
        .leash(Signal::TERM);
    let verb = args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or("hg");
    let deadline = Deadline::after(limit, format!("`hg {verb}` to end"));
    let output = deadline.bound(command.output()).await?.map_err(|error| {
        let fault = Fault::outside("cannot run `hg`, which reads the checkout");
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound => fault.hint("Install Mercurial (`apt install mercurial`)."),
            _ => fault,
        };
        fault.because(error)
    })?;
    Ok(HgOutput { stdout: output.stdout, stderr: text::trim_output(&output.stderr), code: output.status.code() })
}
