//! Commands and small files over AWS Systems Manager Run Command, for machines that SSH does not reach.
//!
//! The instance's agent runs `remote/linux/ssm-command.sh` as root, which starts the command as the machine's user in a session of
//! its own and keeps its line, input, output and wait status in a folder of mode 0700 below `/tmp`. The driver asks for the
//! output in pieces, while the command runs and after it, and then has the folder removed. So nothing is cut off at
//! the 24,000 characters that the service keeps, a lost answer loses nothing, and a request that arrives twice starts its
//! command once.
//!
//! Beside what every connection promises:
//!
//! * **The service proves the machine**: there is no host key; who may send commands to the instance is a matter of the
//!   account. Lines and input stand in the service's history of commands: no place for secrets.
//! * **Each stream is in order**, but standard output and standard error are not ordered between each other.
//! * **Every wait ends**: a request that the agent does not take or finish is given up, and a command whose agent went silent is
//!   [`Exit::Lost`](model::exit::Exit::Lost) with what is known about the agent.
//! * **Dropping** a process ends its command on the machine, as far as a bounded attempt does.
//!
//! What is absent: terminals, input that comes while a command runs, more than [`files::CAP`] of files in one copy: each is
//! refused with a word on SSH. A file travels in requests of 24 KiB (up) and 17 KiB (down), about four a second.
//!
//! Calls of AWS: `ssm:DescribeInstanceInformation`, `ssm:SendCommand` (document `AWS-RunShellScript`),
//! `ssm:GetCommandInvocation`, `ssm:CancelCommand`.

mod agent;
mod files;
mod process;
mod protocol;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::names::suffix;
use async_trait::async_trait;
use model::base::deadline::{Deadline, Pace};
use model::connection::{Connection, ConnectionError, Connector, Process, Progress, Totals};
use model::machine::{Address, Machine, Platform};
use model::task::Command;

use crate::ssm::agent::{Agent, Ping, Runner};
use crate::ssm::process::Session;
use crate::ssm::protocol::{Places, Request, State};

/// How long the machine may hold back its answer while a command has nothing new to tell, seconds.
const HOLD: u64 = 15;

/// The pause between two looks at a machine that boots starts at the first and doubles up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));

/// Opens connections over SSM.
#[derive(Debug, Clone)]
pub struct SsmConnector {
    sdk: aws_config::SdkConfig,
}

impl SsmConnector {
    /// A connector with these credentials; the region is that of each machine's address.
    pub fn new(sdk: aws_config::SdkConfig) -> Self {
        Self { sdk }
    }
}

#[async_trait]
impl Connector for SsmConnector {
    async fn connect(
        &self,
        machine: &Machine,
        user: &str,
        limit: Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        let Address::Ssm { instance, region } = &machine.address else {
            let reason = format!("{} is reached by SSH: no SSM agent of it is known", machine.id);
            return Err(ConnectionError::Invalid(reason));
        };
        let agent = Arc::new(Agent::new(&self.sdk, instance, region));
        let session = Session::new(agent, Places::of(machine.platform), HOLD);
        Ok(Box::new(open(session, user, limit, patient).await?))
    }
}

/// Waits until the agent runs commands as `user`.
async fn open(session: Session, user: &str, limit: Duration, patient: bool) -> Result<SsmConnection, ConnectionError> {
    if !protocol::is_user(user) {
        return Err(ConnectionError::Invalid(format!("`{}` is no user's name", user.escape_debug())));
    }
    let deadline = Deadline::after(limit, "the SSM agent");
    let mut pace = Pace::new(BACKOFF);
    let mut last = None;
    loop {
        match deadline.bound(attempt(&session, user)).await {
            Ok(Ok(())) => return Ok(SsmConnection { session: Arc::new(session), user: user.to_owned() }),
            Ok(Err(failure)) if !patient || !failure.again => return Err(failure.error),
            Ok(Err(failure)) => last = Some(failure.error),
            Err(_) => {}
        }
        if deadline.left() <= pace.next() {
            return Err(insisted(last, session.runner.as_ref(), limit));
        }
        pace.pause().await;
    }
}

/// A failed attempt.
struct Failure {
    error: ConnectionError,
    /// Whether it may get better by itself: the agent comes up, and users are made, while a machine boots.
    again: bool,
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        let again = !matches!(error, ConnectionError::Denied { .. } | ConnectionError::Invalid(_));
        Self { error, again }
    }
}

async fn attempt(session: &Session, user: &str) -> Result<(), Failure> {
    let address = || session.runner.address();
    if let Ping::Silent(reason) = session.runner.ping().await? {
        let source = Some(std::io::Error::other(reason));
        return Err(ConnectionError::Refused { address: address(), source }.into());
    }
    match session.ask(&suffix(), &Request::Probe { user: user.to_owned() }).await?.state {
        State::Ready => Ok(()),
        State::Refused(reason) => {
            Err(Failure { error: ConnectionError::Denied { address: address(), reason }, again: true })
        }
        state => {
            let reason = format!("the agent's answer makes no sense: {state:?}");
            Err(ConnectionError::Lost { address: address(), reason }.into())
        }
    }
}

/// The last reason, with how long it was tried.
fn insisted(last: Option<ConnectionError>, runner: &dyn Runner, limit: Duration) -> ConnectionError {
    let tried = format!("kept trying for {}", model::base::text::seconds(limit));
    match last {
        Some(ConnectionError::Refused { address, source }) => {
            let reason = source.map_or_else(String::new, |source| format!(": {source}"));
            ConnectionError::Refused { address, source: Some(std::io::Error::other(format!("{tried}{reason}"))) }
        }
        Some(ConnectionError::Lost { address, reason }) => {
            ConnectionError::Lost { address, reason: format!("{reason} ({tried})") }
        }
        Some(error) => error,
        None => {
            ConnectionError::TimedOut { address: runner.address(), what: format!("{tried} to reach its SSM agent") }
        }
    }
}

/// A machine whose agent runs commands.
struct SsmConnection {
    session: Arc<Session>,
    user: String,
}

impl Drop for SsmConnection {
    fn drop(&mut self) {
        self.session.clear_aside();
    }
}

#[async_trait]
impl Connection for SsmConnection {
    fn platform(&self) -> Platform {
        self.session.places.platform
    }

    async fn start(&self, command: &Command) -> Result<Box<dyn Process>, ConnectionError> {
        let line = process::line(command)?;
        let process = self.session.start(&self.user, &line, command.stdin.as_deref(), &|_| ()).await?;
        Ok(Box::new(process))
    }

    async fn write_file(&self, remote: &str, bytes: &[u8], mode: u32) -> Result<(), ConnectionError> {
        files::write(self, remote, bytes, mode, &|_| ()).await
    }

    async fn read_file(&self, remote: &str, cap: u64) -> Result<Vec<u8>, ConnectionError> {
        files::read(self, remote, cap).await
    }

    async fn upload(&self, local: &Path, remote: &str, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        files::upload(self, local, remote, progress).await
    }

    async fn download(&self, remote: &str, local: &Path, progress: Progress<'_>) -> Result<Totals, ConnectionError> {
        files::download(self, remote, local, progress).await
    }

    async fn close(&self) {
        self.session.close().await;
    }
}
