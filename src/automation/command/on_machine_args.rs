//! The option to work on a machine that is up, in place of a new one.

use model::base::text;
use model::fault::Fault;
use model::machine::{Machine, ProviderKind};

use crate::command::machine;
use crate::compose::Context;

/// The machine to work on.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OnMachineArgs {
    /// Work on this machine of yours, which is up and stays (`machine up`), in place of a new one; what an earlier run left there is used again
    #[arg(long = "machine", value_name = "ID")]
    taken: Option<String>,
}

impl OnMachineArgs {
    /// Whether one is named.
    pub fn is_given(&self) -> bool {
        self.taken.is_some()
    }

    /// The context in which work is done there, by a command that leaves it there where it `detaches`.
    pub fn apply(&self, context: Context, detaches: bool) -> Result<Context, Fault> {
        self.apply_as(context, detaches, None)
    }

    /// The same with work that is done as `user`, where one is named.
    pub fn apply_as(&self, context: Context, detaches: bool, user: Option<&str>) -> Result<Context, Fault> {
        match &self.taken {
            None => Ok(context),
            Some(text) => {
                let machine = machine::chosen::find(&context, text)?;
                if let Some(idle) = machine.idle.filter(|_| detaches) {
                    // Results that nobody has fetched would go with it.
                    let (id, idle) = (&machine.id, text::seconds(idle));
                    return Err(Fault::usage(format!(
                        "machine `{id}` ends when idle for {idle}, and with it what a run left there comes to"
                    ))
                    .hint("Leave `--detach` out, or take a machine without `--idle`."));
                }
                context.on_machine(as_user(machine, user)?)
            }
        }
    }
}

/// The machine as `user` logs in. A machine of this computer lets its owner in as whoever is there; any other has the key of its own user
/// alone.
fn as_user(machine: Machine, user: Option<&str>) -> Result<Machine, Fault> {
    let Some(user) = user.filter(|user| *user != machine.user) else { return Ok(machine) };
    if machine.provider != ProviderKind::Local {
        return Err(Fault::usage(format!("machine `{}` lets in `{}`, and not `{user}`", machine.id, machine.user))
            .hint("Leave `--user` out; the command may call `sudo`, where that user may."));
    }
    Ok(Machine { user: user.to_owned(), ..machine })
}
