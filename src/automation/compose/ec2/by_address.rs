//! The connection that a machine's address asks for.

use std::time::Duration;

use async_trait::async_trait;
use aws::ssm::SsmConnector;
use connection::ssh::SshConnector;
use model::connection::{Connection, ConnectionError, Connector};
use model::machine::{Address, Machine};

/// Reaches machines with an address of Systems Manager by that service, all others by SSH.
pub(crate) struct ByAddress {
    /// For machines with an address of the network.
    pub ssh: SshConnector,
    /// For machines with an address of Systems Manager.
    pub ssm: SsmConnector,
}

#[async_trait]
impl Connector for ByAddress {
    async fn connect(
        &self,
        machine: &Machine,
        user: &str,
        limit: Duration,
        patient: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        match machine.address {
            Address::Ssm { .. } => self.ssm.connect(machine, user, limit, patient).await,
            Address::Tcp { .. } | Address::Handover { .. } => self.ssh.connect(machine, user, limit, patient).await,
        }
    }
}
