//! Renewing a lease: through the machine's provider, or on the machine itself where it keeps its own lease.

use std::time::Duration;

use jiff::Timestamp;
use model::connection::Connection;
use model::event::MachineEvent;
use model::fault::Fault;
use model::machine::Machine;
use model::output::{OutputLimits, run_command};
use model::provider::LeaseKeeper;

use crate::lease::RECONNECT_LIMIT;
use crate::run::{Run, saturating_add};
use crate::site::Site;

/// Postpones a machine's end: through its provider, or on the machine itself where it keeps its own lease.
#[derive(Default)]
pub(super) struct Renewal {
    connection: Option<Box<dyn Connection>>,
}

impl Renewal {
    /// Lets the machine live until `until`.
    pub(super) async fn renew(&mut self, site: &Site, machine: &Machine, until: Timestamp) -> Result<(), Fault> {
        let command = match site.provider.lease_keeper() {
            LeaseKeeper::Nobody => return Ok(()),
            LeaseKeeper::Provider(provider) => return provider.renew(machine, until).await,
            LeaseKeeper::Machine(keeper) => keeper.lease_command(machine, until)?,
        };
        // This is a connection of its own: the work's connection may be choked, or lost without anybody knowing it yet.
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => site.connector.connect(machine, &machine.user, RECONNECT_LIMIT, false).await?,
        };
        let done = run_command(connection.as_ref(), &command, OutputLimits::SMALL).await?;
        if !done.exit.is_success() {
            return Err(
                Fault::infrastructure(format!("the machine refused with {}", done.exit)).because(done.stderr_text())
            );
        }
        self.connection = Some(connection);
        Ok(())
    }
}

/// Renews the lease again and again, for the first time after `first`.
pub(super) fn spawn_heartbeat(
    run: &Run,
    site: &Site,
    machine: &Machine,
    first: Duration,
) -> tokio::task::JoinHandle<()> {
    let (run, site, machine) = (run.clone(), site.clone(), machine.clone());
    tokio::spawn(async move {
        let mut warned = false;
        let mut renewal = Renewal::default();
        let mut pause = first;
        loop {
            tokio::time::sleep(pause).await;
            pause = interval(&site);
            let until = saturating_add(run.now(), site.grace);
            let Err(fault) = renewal.renew(&site, &machine, until).await else { continue };
            // The next try comes sooner: the first lease of a machine may be shorter than a whole pause.
            pause /= 4;
            if !std::mem::replace(&mut warned, true) {
                run.teller.machine(&machine.id, MachineEvent::LeaseNotRenewed { failure: (&fault).into() });
            }
        }
    })
}

/// A quarter of the grace: three renewals may fail or come late before the machine ends.
pub(super) fn interval(site: &Site) -> Duration {
    site.grace / 4
}
