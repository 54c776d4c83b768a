//! `automation run --watch`: the command again, each time its files change.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use ::project::command::FolderCommand;
use ::project::watcher::Watcher;
use async_trait::async_trait;
use flow::command::{CommandOutcome, Watch};
use model::base::{escapes, text};
use model::event::RunEvent;
use model::fault::Fault;
use model::preparation::UserCommand;
use tokio::sync::Mutex;

use crate::command::command_end::event_of;
use crate::command::error;
use crate::command::run::Args;
use crate::command::run::history::pack;
use crate::command::session::Session;

/// How many bytes of the names of changed files are shown.
const NAMES_SHOWN: usize = 100;

/// Waits for changes of the files of a command.
pub(super) struct SourceWatch<'a> {
    session: &'a Session,
    args: &'a Args,
    command: FolderCommand,
    watcher: Mutex<Watcher>,
    /// Why the files that there are now cannot be sent.
    unseen: std::sync::Mutex<Option<Fault>>,
}

impl<'a> SourceWatch<'a> {
    /// Begins to watch.
    pub(super) fn begin(session: &'a Session, args: &'a Args, command: &FolderCommand) -> Result<Self, Fault> {
        let source = command.source.as_ref().ok_or_else(|| Fault::usage("there are no files to watch"))?;
        let watcher = Mutex::new(Watcher::new(source)?);
        Ok(Self { session, args, command: command.clone(), watcher, unseen: std::sync::Mutex::default() })
    }

    /// The command with the files that there are now, if they changed.
    async fn look(&self, watcher: &mut Watcher) -> Result<Option<FolderCommand>, Fault> {
        let Some(before) = &self.command.source else { return Ok(None) };
        let (screen, source) = (&self.session.context.screen, self.args.files.travel.find(&before.top).await?);
        let changed = watcher.changed(&source);
        if changed.is_empty() {
            return Ok(None);
        }
        self.args.files.travel.check(&source, 0, screen)?;
        screen.message(&format!("Changed: {}", names(&changed)));
        let history = match self.args.history_of(&source).await? {
            Some(history) => Some(pack(self.session, &source.top, &history).await?),
            None => None,
        };
        Ok(Some(FolderCommand { source: Some(Arc::new(source)), history, ..self.command.clone() }))
    }
}

fn names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    escapes::one_line(&text::cut(&names.join(", "), NAMES_SHOWN)).into_owned()
}

#[async_trait]
impl Watch for SourceWatch<'_> {
    fn ended(&self, outcome: &CommandOutcome) {
        let cancelled = self.session.run.stop.is_cancelled();
        self.session.run.tell(event_of(outcome, &self.command.line(), cancelled));
        if let Some(fault) = outcome.lack() {
            self.session.run.tell(RunEvent::Failed { failure: (&fault).into() });
        }
    }

    fn unseen(&self) -> Option<Fault> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn next(&self) -> Result<Box<dyn UserCommand>, Fault> {
        let mut watcher = self.watcher.lock().await;
        self.session.context.screen.message("Waiting for changes; Ctrl-C ends it.");
        loop {
            // What changed while the command ran was told already.
            watcher.wait().await;
            let looked = self.look(&mut watcher).await;
            let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
            match looked {
                Ok(Some(command)) => {
                    *unseen = None;
                    return Ok(Box::new(command));
                }
                Ok(None) => {}
                // It is mended by a change as well.
                Err(fault) => {
                    self.session.context.screen.message(&error::render(&fault));
                    *unseen = Some(fault);
                }
            }
        }
    }
}
