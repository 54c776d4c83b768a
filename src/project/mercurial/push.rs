//! Sending a changeset to the repository of a machine, by the user's own `hg` over our own program in place of `ssh`.

use std::path::Path;
use std::time::Duration;

use model::event::{StepEvent, Teller};
use model::fault::Fault;
use model::preparation::SshProgram;
use model::work::Work;

use crate::mercurial::checkout::Checkout;
use crate::program::hg;

/// The longest push: the whole history of Mercurial, 0.5 GB, over a slow line.
const PUSH_LIMIT: Duration = Duration::from_secs(3600);

/// The repository on a machine that receives changesets.
pub(super) struct Repository {
    /// The machine's `hg`.
    pub program: &'static str,
    /// Where it is.
    pub url: &'static str,
}

/// The changesets that give names to others. A revset by the log of the file alone finds none where the file is not in what is
/// checked out.
const TAGS: &str = "--rev=file('path:.hgtags') - secret()";

/// Sends the changeset of `checkout`, with what it stands on, and where the `tags` are wanted those that tell them. `target` is the file that describes the machine to `ssh`.
pub(super) async fn push(
    checkout: &Checkout,
    ssh: &SshProgram,
    (to, tags): (&Repository, bool),
    target: &Path,
    teller: &Teller,
) -> Result<(), Fault> {
    let (revision, from) = (checkout.short().to_owned(), checkout.root.display().to_string());
    let pushing = teller.begin(Work::Pushing { revision, from });
    let mut words = vec![ssh.program.display().to_string()];
    words.extend(ssh.args.iter().cloned());
    words.push(target.display().to_string());
    let ssh = model::base::quote::join(&words).map_err(|e| Fault::usage("cannot name our own program").because(e))?;
    let (ssh, rev) = (format!("ui.ssh={ssh}"), format!("--rev={}", checkout.node));
    let mut args = vec!["push", "--force", &rev, "--config", &ssh, "--remotecmd", to.program, to.url];
    args.extend(tags.then_some(TAGS));
    let said = hg(&checkout.root, &args, PUSH_LIMIT).await?;
    for line in String::from_utf8_lossy(&said.stdout).lines() {
        teller.tell(StepEvent::Said { line: line.to_owned() });
    }
    // The exit code 1 says that there was nothing to push: the machine has it all.
    if !matches!(said.code, Some(0 | 1)) {
        let message = format!("cannot push {} to the machine", checkout.node);
        return Err(Fault::infrastructure(message).because(said.stderr));
    }
    pushing.finish();
    Ok(())
}
