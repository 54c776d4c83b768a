//! The connection that a machine's address asks for.

use std::time::Duration;

use async_trait::async_trait;

use crate::connection::ssh::SshConnector;
use crate::connection::ssm::SsmConnector;
use crate::model::connection::{Connection, ConnectionError, Connector};
use crate::model::machine::{Address, Machine};

/// Reaches machines of Systems Manager by it, all others by SSH.
pub struct ByAddress {
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
