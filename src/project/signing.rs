//! Signing what was built by a command of the user's, and checking that it bears a signature of its bytes then.
//!
//! What is checked is that the file carries an Authenticode signature whose SHA-256 is that of the file: a signature of another
//! file, none at all and one of SHA-1 are refused. Whether Windows trusts the signer is for Windows to say.

mod msi;
mod pe;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use model::base::deadline::Deadline;
use model::base::leash::Leash;
use model::base::{quote, text};
use model::fault::Fault;
use model::packaging::Signer;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

/// How long signing one file may take: services that give a time stamp are asked several times where they do not answer.
const LIMIT: Duration = Duration::from_secs(600);

/// Stands for the file that is signed.
const IN: &str = "{in}";

/// Stands for the file to which the signed one is written.
const OUT: &str = "{out}";

/// A command that signs a file: in place, or into another file where its words name one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignCommand {
    program: String,
    args: Vec<String>,
}

/// What a signed file says of itself.
struct Signature {
    /// The sum that a signature of its bytes holds.
    wanted: [u8; 32],
    /// The sum of what signing does not change.
    content: [u8; 32],
    /// The signature; empty where there is none.
    bytes: Vec<u8>,
}

impl SignCommand {
    /// Reads what a user typed, split as a shell splits it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = quote::split(text).ok_or("a quote in it does not end")?.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or("it names no program")?;
        let args: Vec<String> = words.collect();
        match (args.iter().any(|arg| arg.contains(IN)), args.iter().any(|arg| arg.contains(OUT))) {
            (false, true) => Err(format!("it has `{OUT}` without `{IN}`")),
            _ => Ok(Self { program, args }),
        }
    }

    /// The program that it starts.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The words for a file; a file that is written in its place.
    fn words(&self, path: &Path) -> (Vec<String>, Option<PathBuf>) {
        let out = path.with_extension("signed");
        let (name, other) = (path.display().to_string(), out.display().to_string());
        let mut args: Vec<String> = self.args.iter().map(|arg| arg.replace(IN, &name).replace(OUT, &other)).collect();
        if !self.args.iter().any(|arg| arg.contains(IN)) {
            args.push(name);
        }
        (args, self.args.iter().any(|arg| arg.contains(OUT)).then_some(out))
    }

    async fn run(&self, args: &[String], what: &str) -> Result<(), Fault> {
        let mut command = Command::new(&self.program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true).leash(Signal::TERM);
        let failed = |why: String| {
            Fault::outside(format!("cannot sign {what} by `{}`", self.program))
                .because(why)
                .hint("Try the command of `--sign` by hand. What it signs has not reached its folder.")
        };
        let child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let _group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let deadline = Deadline::after(LIMIT, format!("`{}` to end", self.program));
        let done = deadline.bound(child.wait_with_output()).await.map_err(|expired| failed(expired.to_string()))?;
        let done = done.map_err(|error| failed(error.to_string()))?;
        if done.status.success() {
            return Ok(());
        }
        let said = [text::trim_output(&done.stdout), text::trim_output(&done.stderr)].join("\n");
        Err(failed(format!("{}\n{}", done.status, text::last_lines(said.trim(), 10))))
    }
}

/// The processes of a command, which end with this value: also those that the command has started and left.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // There is nobody left where all of them have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[async_trait]
impl Signer for SignCommand {
    fn signs(&self, name: &str) -> bool {
        name.ends_with(".exe") || name.ends_with(".msi")
    }

    async fn sign(&self, path: &Path) -> Result<(), Fault> {
        let (args, out) = self.words(path);
        let what = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wrong = |why: &str| {
            Fault::outside(format!("`{}` ended well, and {what} is not signed", self.program)).because(why.to_owned())
        };
        let before = look(path).await.map_err(|why| wrong(&why))?;
        self.run(&args, &what).await?;
        if let Some(out) = out {
            std::fs::rename(&out, path).map_err(|error| wrong(&format!("`{OUT}` was not written: {error}")))?;
        }
        let signature = look(path).await.map_err(|why| wrong(&why))?;
        if signature.content != before.content {
            return Err(wrong("it is another file now than the one that was built"));
        }
        match signature.bytes.windows(signature.wanted.len()).any(|window| window == signature.wanted) {
            true => Ok(()),
            false if signature.bytes.is_empty() => Err(wrong("it bears no Authenticode signature")),
            false => Err(wrong("its signature is not one of its bytes by SHA-256")),
        }
    }
}

/// Reads a file's signature, on a thread for that.
async fn look(path: &Path) -> Result<Signature, String> {
    let of = path.to_owned();
    tokio::task::spawn_blocking(move || read(&of)).await.map_err(|error| error.to_string())?
}

/// Reads a file's signature.
fn read(path: &Path) -> Result<Signature, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"MZ") { pe::read(&bytes) } else { msi::read(bytes) }
}

#[cfg(test)]
mod tests;
