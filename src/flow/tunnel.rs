//! A port here that leads to one of a machine, for as long as somebody wants it.

use std::mem::Discriminant;

use futures_util::stream::{FuturesUnordered, StreamExt};
use model::connection::{Connection, ConnectionError};
use model::fault::Fault;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The most streams at once: a program that opens more waits until one has ended. A browser opens six to a host.
pub const MOST: usize = 64;

/// Passes every connection that `listener` takes on to `port` of the machine, until `stop`, or until the connection to the machine is
/// lost, which is a fault. A stream that the machine refuses ends; `tell` hears of the first of each kind.
pub async fn forward(
    listener: TcpListener,
    connection: &dyn Connection,
    port: u16,
    stop: &CancellationToken,
    tell: &(dyn Fn(&ConnectionError) + Sync),
) -> Result<(), Fault> {
    let tunnels = connection.tunnels()?;
    let mut streams = FuturesUnordered::new();
    let mut told: Vec<Discriminant<ConnectionError>> = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(ended) = streams.next() => {
                let Err(error) = ended else { continue };
                if matches!(error, ConnectionError::Lost { .. } | ConnectionError::MachineEnded { .. }) {
                    return Err(error.into());
                }
                let kind = std::mem::discriminant(&error);
                if !told.contains(&kind) {
                    told.push(kind);
                    tell(&error);
                }
            }
            taken = listener.accept(), if streams.len() < MOST => {
                let (near, _) = taken.map_err(|error| Fault::outside("cannot take a connection").because(error))?;
                streams.push(tunnels.carry(near, port));
            }
        }
    }
}
