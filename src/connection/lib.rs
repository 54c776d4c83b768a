//! The `connection` adapter, which reaches machines.
//!
//! The contract is the traits in [`model::connection`]. Every implementation here also promises:
//!
//! * **The host key comes first.** It is compared with [`model::machine::HostKey`] during the key exchange; on a
//!   mismatch nothing was sent that names the user or holds a signature. No key is ever learnt or written.
//! * **Every wait ends.** Dialling, the key exchange and authentication share the caller's limit; opening a session and
//!   each file request have limits of their own; a peer that went silent is given up by keepalives within
//!   [`ssh::SshSettings::silence`]. A command may run as long as it likes.
//! * **Refused, timed out, mismatch, authentication refused, lost and protocol** are distinguished, because each
//!   requires something else of the user. Only failures that may pass are retried, and only when the caller is patient.
//! * **A command's output is read until its channel closes**, not until its status arrives: output may come after the
//!   status. A channel that closes without a status is [`model::exit::Exit::Lost`].
//! * **Standard input** of a command that came without bytes belongs to the caller from `start` until the first `next`.
//!   If it was not taken by then, the command sees the end of its input; so no forgotten input can hang a command that
//!   reads.
//! * **Memory is bounded.** Output that nobody reads is held up to [`ssh::CHANNEL_MESSAGES`] messages of at most 32 KiB
//!   a command; then the transport stops reading, and with it every other command on the same transport until the
//!   output is read or the process is dropped. So a caller must read what it starts.
//! * **Any number of commands** run side by side: those that do not fit into one transport's sessions get a further
//!   transport.
//! * **Dropping** a process closes its channel; dropping a copy half-way removes its partial file, except that of a
//!   large file, with which the next copy goes on; dropping a connection closes it without a goodbye.
//!
//! The numbers and the host key are SSH's; `aws::ssm` documents the differences where there is no SSH.
//!
//! `russh` and `russh-sftp` are named nowhere else. This crate writes only to the given streams ([`interactive`]),
//! reads no environment and knows no home directory.

mod address;
mod blocks;
pub mod dummy;
mod extents;
mod file_server;
mod handshake;
pub mod host;
pub mod host_key;
#[cfg(test)]
mod hostile;
pub mod interactive;
pub mod keys;
mod lane;
mod large;
mod link;
pub mod login;
mod look;
mod names;
mod partial;
mod pool;
mod process;
mod sftp;
pub mod ssh;
mod subsystem;
mod tree;
mod tunnel;

pub use dummy::{Call, Dummy, DummyConnector, Reply};
pub use interactive::{InteractOptions, Streams, bridge, bridge_stdio, interact, restore_terminal, terminal};
pub use keys::{OpenSshKeyPair, fingerprint, generate};
pub use ssh::{SshConnector, SshSettings};
