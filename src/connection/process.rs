//! A command on a machine, over one session channel.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::connection::{ConnectionError, Process, Stdin};
use model::exit::Exit;
use model::machine::Platform;
use model::task::{Chunk, WindowSize};
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::link::Link;

type Writer = Arc<ChannelWriteHalf<Msg>>;

/// How long the channel may stay open without output after the exit status came, and how long at all. A process that a
/// command left behind on Windows holds its streams, and nothing can be done to it; so the exit status counts. What the
/// command itself wrote is on its way by then: two windows of it take less, also on a slow line.
const SURVIVOR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

pub(super) struct SshProcess {
    reader: ChannelReadHalf,
    writer: Writer,
    link: Arc<Link>,
    /// Ends pending writes: `russh` lets a write wait for a window that a closed channel never opens.
    closed: CancellationToken,
    stdin_open: bool,
    refused: bool,
    done: bool,
    exit: Option<Exit>,
    /// When what holds the channel open is no longer waited for: after the next silence, and in any case.
    given_up: Option<(Instant, Instant)>,
    platform: Platform,
    /// The process's place among the sessions of the transport.
    slot: Option<OwnedSemaphorePermit>,
}

impl SshProcess {
    pub(super) fn new(
        channel: russh::Channel<Msg>,
        link: Arc<Link>,
        slot: OwnedSemaphorePermit,
        stdin: Option<Vec<u8>>,
        platform: Platform,
    ) -> Self {
        let (reader, writer) = channel.split();
        let writer = Arc::new(writer);
        let closed = CancellationToken::new();
        let stdin_open = stdin.is_none();
        if let Some(bytes) = stdin {
            let mut input =
                SshStdin { writer: Arc::clone(&writer), link: Arc::clone(&link), closed: closed.clone(), open: true };
            tokio::spawn(async move {
                // It is not an error that a command ends before it has read all of its input.
                if input.write(&bytes).await.is_ok() {
                    drop(input.close().await);
                }
            });
        }
        Self {
            reader,
            writer,
            link,
            closed,
            stdin_open,
            refused: false,
            done: false,
            exit: None,
            given_up: None,
            platform,
            slot: Some(slot),
        }
    }

    /// The next message; `None` where the channel is closed, or where a survivor alone holds it open.
    async fn message(&mut self) -> Option<ChannelMsg> {
        let Some((silent, end)) = self.given_up else { return self.reader.wait().await };
        match tokio::time::timeout_at(silent.min(end), self.reader.wait()).await {
            Ok(message) => message,
            Err(_) => {
                drop(self.writer.close().await);
                None
            }
        }
    }

    /// Notes how the command ended.
    fn set_exit(&mut self, exit: Exit) {
        self.exit = Some(exit);
        if self.platform == Platform::Windows {
            let now = Instant::now();
            self.given_up = Some((now + SURVIVOR.0, now + SURVIVOR.1));
        }
    }

    fn finish(&mut self) {
        self.done = true;
        self.closed.cancel();
        self.slot = None;
    }
}

#[async_trait]
impl Process for SshProcess {
    async fn next(&mut self) -> Option<Chunk> {
        if self.stdin_open && !self.done {
            drop(self.writer.eof().await);
            self.stdin_open = false;
        }
        while !self.done {
            let message = self.message().await;
            if let (Some((silent, _)), Some(_)) = (&mut self.given_up, &message) {
                *silent = Instant::now() + SURVIVOR.0;
            }
            match message {
                Some(ChannelMsg::Data { data }) => return Some(Chunk::Stdout(data.into())),
                Some(ChannelMsg::ExtendedData { data, .. }) => return Some(Chunk::Stderr(data.into())),
                Some(ChannelMsg::ExitStatus { exit_status }) => self.set_exit(Exit::Code(exit_status)),
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => self.set_exit(Exit::Signal(name(signal_name))),
                // Only the request to run the command still waits for an answer.
                Some(ChannelMsg::Failure) => {
                    self.refused = true;
                    drop(self.writer.close().await);
                }
                Some(ChannelMsg::Close) | None => self.finish(),
                Some(_) => {}
            }
        }
        None
    }

    fn take_stdin(&mut self) -> Option<Box<dyn Stdin>> {
        if !std::mem::take(&mut self.stdin_open) {
            return None;
        }
        Some(Box::new(SshStdin {
            writer: Arc::clone(&self.writer),
            link: Arc::clone(&self.link),
            closed: self.closed.clone(),
            open: true,
        }))
    }

    async fn resize(&self, size: WindowSize) -> Result<(), ConnectionError> {
        self.writer.window_change(size.columns, size.rows, 0, 0).await.map_err(|_| self.link.lost_error())
    }

    async fn signal(&mut self, name: &str) -> Result<(), ConnectionError> {
        self.writer.signal(Sig::Custom(name.to_owned())).await.map_err(|_| self.link.lost_error())
    }

    fn exit(&self) -> Exit {
        match &self.exit {
            Some(exit) => exit.clone(),
            None if !self.done => Exit::Lost("its output was not read to the end".to_owned()),
            None if self.refused => Exit::Lost("the machine refused to run the command".to_owned()),
            None if self.link.is_gone() => Exit::Lost(self.link.reason()),
            None => Exit::Lost("its channel closed without an exit status".to_owned()),
        }
    }
}

impl Drop for SshProcess {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.closed.cancel();
        let (writer, slot) = (Arc::clone(&self.writer), self.slot.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                drop(writer.close().await);
                drop(slot);
            });
        }
    }
}

/// The signal's name without `SIG`.
fn name(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name.trim_start_matches("SIG").to_owned(),
        plain => format!("{plain:?}"),
    }
}

struct SshStdin {
    writer: Writer,
    link: Arc<Link>,
    closed: CancellationToken,
    open: bool,
}

impl SshStdin {
    fn unread_input_error(&self) -> ConnectionError {
        ConnectionError::Lost {
            address: self.link.address().to_owned(),
            reason: "the command ended before it read all of its input".to_owned(),
        }
    }
}

#[async_trait]
impl Stdin for SshStdin {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        if !self.open {
            return Err(ConnectionError::Invalid("standard input was closed already".to_owned()));
        }
        tokio::select! {
            biased;
            () = self.link.wait_until_gone() => Err(self.link.lost_error()),
            () = self.closed.cancelled() => Err(self.unread_input_error()),
            sent = self.writer.data_bytes(bytes.to_vec()) => sent.map_err(|_| self.link.lost_error()),
        }
    }

    async fn close(&mut self) -> Result<(), ConnectionError> {
        if !std::mem::replace(&mut self.open, false) {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.link.wait_until_gone() => Err(self.link.lost_error()),
            () = self.closed.cancelled() => Ok(()),
            sent = self.writer.eof() => sent.map_err(|_| self.link.lost_error()),
        }
    }
}

impl Drop for SshStdin {
    fn drop(&mut self) {
        if !self.open || self.closed.is_cancelled() || self.link.is_gone() {
            return;
        }
        let writer = Arc::clone(&self.writer);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                drop(writer.eof().await);
            });
        }
    }
}
