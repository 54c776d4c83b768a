//! Commands and small files over AWS Systems Manager Run Command, for machines that SSH does not reach.
//!
//! The instance's agent runs `remote/linux/ssm-command.sh` as root, which starts the command as the machine's user in a
//! session of its own and keeps its line, input, output and wait status in a folder of mode 0700 below `/tmp`. The
//! driver asks for the output in pieces, while the command runs and after it, and then has the folder removed. So
//! nothing is cut off at the 24,000 characters that the service keeps, no output is lost with an answer, and a request
//! that arrives twice starts its command once.
//!
//! Besides the promises of every connection:
//!
//! * **The service proves the machine**: there is no host key; the account decides who may send commands to the
//!   instance. The service's history of commands shows lines and input, so they must not hold secrets.
//! * **Each stream is in order**, but standard output and standard error are not ordered between each other.
//! * **Every wait ends**: a request that the agent does not take or finish is given up, and a command whose agent went silent is
//!   [`Exit::Lost`](model::exit::Exit::Lost) with what is known about the agent.
//! * **Dropping** a process ends its command on the machine, in one bounded attempt.
//!
//! Deliberately absent: terminals, input that comes while a command runs, and more than [`files::CAP`] of files in one
//! copy. Each is refused with a hint at SSH. A file is sent in requests of 24 KiB (up) and 17 KiB (down), about four a
//! second.
//!
//! On Windows PowerShell hands each request to `remote/windows/ssm_command.py`, and commands run as SYSTEM, in place of the administrator
//! alone: nobody can become a user there without the user's password.
//!
//! Calls of AWS: `ssm:DescribeInstanceInformation`, `ssm:SendCommand` (document `AWS-RunShellScript` or `AWS-RunPowerShellScript`),
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
use model::connection::{Connection, ConnectionError, Connector, Process, Progress, Totals, Trees};
use model::machine::{Address, Machine, Platform};
use model::task::Command;

use crate::ssm::agent::{Agent, Ping, ScriptRunner};
use crate::ssm::process::SsmSession;
use crate::ssm::protocol::{CommandState, Places, ScriptRequest};

/// How long the machine may hold its answer back while a command has no new output, in seconds.
const HOLD: u64 = 15;

/// The first and the longest pause between two attempts at a machine that boots; pauses double in between.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));

/// Opens connections over SSM.
#[derive(Debug, Clone)]
pub struct SsmConnector {
    sdk: aws_config::SdkConfig,
}

impl SsmConnector {
    /// A connector with the credentials of `sdk`; the region comes from each machine's address.
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
            let reason = format!("{} is reached by SSH, not by an SSM agent", machine.id);
            return Err(ConnectionError::Invalid(reason));
        };
        let agent = Arc::new(Agent::new(&self.sdk, protocol::agent(machine.platform)?.document(), instance, region));
        let session = SsmSession::new(agent, Places::of(machine.platform)?, HOLD);
        Ok(Box::new(open(session, user, limit, patient).await?))
    }
}

/// Waits until the agent runs commands as `user`.
async fn open(
    session: SsmSession,
    user: &str,
    limit: Duration,
    patient: bool,
) -> Result<SsmConnection, ConnectionError> {
    if !guest::of(session.places.platform).is_login_name(user) {
        return Err(ConnectionError::Invalid(format!("`{}` is not a login name", user.escape_debug())));
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
        if deadline.remaining() <= pace.next() {
            return Err(add_time_tried(last, session.runner.as_ref(), limit));
        }
        pace.pause().await;
    }
}

/// A failed attempt.
struct ConnectFailure {
    error: ConnectionError,
    /// Whether another attempt may succeed: while a machine boots, its agent starts and its users are created.
    again: bool,
}

impl From<ConnectionError> for ConnectFailure {
    fn from(error: ConnectionError) -> Self {
        let again = !matches!(error, ConnectionError::Denied { .. } | ConnectionError::Invalid(_));
        Self { error, again }
    }
}

async fn attempt(session: &SsmSession, user: &str) -> Result<(), ConnectFailure> {
    let address = || session.runner.address();
    if let Ping::Silent(reason) = session.runner.ping().await? {
        let source = Some(std::io::Error::other(reason));
        return Err(ConnectionError::Refused { address: address(), source }.into());
    }
    match session.ask(&suffix(), &ScriptRequest::Probe { user: user.to_owned() }).await?.state {
        CommandState::Ready => Ok(()),
        CommandState::Refused(reason) => {
            Err(ConnectFailure { error: ConnectionError::Denied { address: address(), reason }, again: true })
        }
        state => {
            let reason = format!("the agent's answer makes no sense: {state:?}");
            Err(ConnectionError::Lost { address: address(), reason }.into())
        }
    }
}

/// The last error, with the time for which connecting was tried.
fn add_time_tried(last: Option<ConnectionError>, runner: &dyn ScriptRunner, limit: Duration) -> ConnectionError {
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
    session: Arc<SsmSession>,
    user: String,
}

impl Drop for SsmConnection {
    fn drop(&mut self) {
        self.session.clear_in_background();
    }
}

#[async_trait]
impl Connection for SsmConnection {
    fn platform(&self) -> Platform {
        self.session.places.platform
    }

    async fn start(&self, command: &Command) -> Result<Box<dyn Process>, ConnectionError> {
        let invocation = process::invocation(self.platform(), command)?;
        let process = self.session.start(&self.user, &invocation, command.stdin.as_deref(), &|_| ()).await?;
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

    fn trees(&self) -> Result<&dyn Trees, ConnectionError> {
        Err(ConnectionError::Invalid("SSM carries whole files and folders only; use SSH".to_owned()))
    }

    /// The input of a command is a file on the machine, which ends whether its caller is there or not.
    fn holds_stdin(&self) -> bool {
        false
    }

    async fn close(&self) {
        self.session.close().await;
    }
}
