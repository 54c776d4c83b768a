//! A command on one machine, in this process to its end, or until it is left there.

use std::sync::Arc;

use async_trait::async_trait;
use connection::interactive;
use flow::command::{CommandJob, CommandRecords, Conversation, Watch, run_command};
use flow::task::begun::OnceBegun;
use model::connection::Process;
use model::exit::Exit;
use model::fault::Fault;
use model::machine::Machine;
use model::preparation::UserCommand;
use model::task::Terminal;

use crate::command::announcer::{Announcer, accept_detach};
use crate::command::command_end;
use crate::command::image::baking_for;
use crate::command::run::Args;
use crate::command::run::resolve::{Resolved, ResolvedCell};
use crate::command::run::watch::SourceWatch;
use crate::command::session::{Ending, Session};
use crate::compose::variables;
use crate::ui::{self, Screen};

/// A person at the terminal of this process.
struct Talk {
    terminal: Terminal,
    screen: Arc<Screen>,
    /// Whether escape sequences for titles and the like are withheld from the terminal.
    filter: bool,
}

impl Talk {
    fn new(session: &Session) -> Result<Self, Fault> {
        let kind = variables::terminal().unwrap_or_else(|| "dumb".to_owned());
        let terminal = interactive::terminal(&kind).ok_or_else(|| {
            Fault::usage("`--terminal` gives the command this terminal, and standard input or output is none")
                .hint("Leave it out; `--stdin` gives the command what comes on standard input.")
        })?;
        Ok(Self { terminal, screen: Arc::clone(&session.context.screen), filter: !session.context.raw() })
    }
}

#[async_trait]
impl Conversation for Talk {
    fn terminal(&self) -> Terminal {
        self.terminal.clone()
    }

    async fn join(&self, process: Box<dyn Process>) -> Result<Exit, Fault> {
        self.screen.settle();
        let streams = interactive::Streams::own()
            .map_err(|error| Fault::outside("standard input, output or error is closed").because(error))?;
        let manner = interactive::InteractOptions { raw: true, filter: self.filter };
        let joined = interactive::join(process, streams, manner).await;
        joined.map(|joined| joined.exit).map_err(ui::unwritten_fault)
    }
}

/// Runs the command.
pub(super) async fn drive(
    session: &Session,
    args: &Args,
    resolved: &Resolved,
    cell: &ResolvedCell,
) -> Result<Ending, Fault> {
    let announcer = Announcer::new(session, args.json);
    let announce = |machine: &Machine| announcer.announce(machine);
    let once_begun =
        if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&|| session.detachable()) };
    let (output, builds) = (session.task_output(), session.context.state.builds());
    let records = CommandRecords { folder: &session.dir, output: &output, builds: &builds };
    let talk = args.terminal.then(|| Talk::new(session)).transpose()?;
    let watch = args.watch.then(|| SourceWatch::begin(session, args, &cell.command)).transpose()?;
    let job = CommandJob {
        command: &cell.command,
        plan: cell.plan.as_ref(),
        baking: &baking_for(&cell.order, args.keep_failed),
        order: &cell.order,
        limit: resolved.limit,
        fetch: &resolved.fetch,
        keep_failed: args.keep_failed,
        sync_back: resolved.sync_back.as_ref(),
        conversation: talk.as_ref().map(|talk| talk as &dyn Conversation),
        watch: watch.as_ref().map(|watch| watch as &dyn Watch),
        once_begun,
    };
    let ended = run_command(&session.run, &session.site, &job, &records).await?;
    announcer.settle();
    let ending = command_end::conclude(session, &cell.command.line(), ended, args.json)?;
    Ok(accept_detach(args.detach, ending))
}
