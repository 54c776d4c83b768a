//! How machines are reached: the `connection` adapter.
//!
//! The contract is the traits in [`model::connection`]; what every implementation here also promises:
//!
//! * **The host key comes first.** It is compared with [`model::machine::HostKey`] during the key exchange; on a
//!   mismatch nothing was sent that names the user or holds a signature. Nothing is ever learnt or written.
//! * **Every wait ends.** Dialling, the key exchange and authentication share the caller's limit; opening a session and
//!   each file request have limits of their own; a peer that went silent is given up by keepalives within
//!   [`ssh::Settings::silence`]. A command may run as long as it likes.
//! * **Refused, timed out, mismatch, authentication refused, lost and protocol** are told apart, because each asks
//!   something else of the user. Only what may get better by itself is retried, and only when the caller is patient.
//! * **A command's output is read until its channel closes**, not until its status arrives: output may come after the
//!   status. A channel that closes without a status is [`model::exit::Exit::Lost`].
//! * **Standard input** of a command that came without bytes belongs to the caller from `start` until the first
//!   `next`. Who has not taken it by then does not want it, and the command sees end of file; so no forgotten input
//!   can hang a command that reads.
//! * **Memory is bounded.** Output that nobody reads is held up to [`ssh::CHANNEL_MESSAGES`] messages of at most 32 KiB
//!   a command; then the transport stops reading, and with it every other command on the same transport until the
//!   output is read or the process is dropped. So: read what you start.
//! * **Any number of commands** run side by side: what does not fit into one transport's sessions gets a further transport.
//! * **Dropping** a process closes its channel; dropping a copy half-way removes its partial file, or leaves the one that a large
//!   file's next copy goes on with; dropping a connection
//!   closes it without ceremony.
//!
//! The numbers and the host key are SSH's; what differs where there is no SSH stands in `aws::ssm`.
//!
//! `russh` and `russh-sftp` are named nowhere else. What is absent: writing to anything but the given streams
//! ([`interactive`]), reading the environment, knowing a home directory.

mod address;
mod blocks;
pub mod dummy;
mod extents;
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

pub use dummy::{Call, Dummy, DummyConnector, Reply};
pub use interactive::{Manner, Streams, bridge, bridge_stdio, interact, restore_terminal, terminal};
pub use keys::{KeyPair, fingerprint, generate};
pub use ssh::{Settings, SshConnector};
