//! What the sites of a tool without Amazon EC2 have in place of its adapters.

use std::sync::Arc;
use std::time::Duration;

use connection::ssh::SshConnector;
use model::check::Check;
use model::connection::Connector;
use model::fault::Fault;
use model::provider::{ImageStore, Provider};
use model::purge::Account;

use crate::compose::ec2::Ec2Clients;
use crate::compose::sites::SiteBuilder;

fn without_ec2() -> Fault {
    Fault::outside("this build has no provider `ec2`").hint("Build it with the feature `ec2`, which is on by default.")
}

impl SiteBuilder {
    pub(in crate::compose) async fn ec2_connector(&self) -> Arc<dyn Connector> {
        Arc::new(SshConnector::default())
    }

    pub(in crate::compose) async fn ec2_account(&self) -> Result<Arc<dyn Account>, Fault> {
        Err(without_ec2())
    }

    pub(in crate::compose) async fn ec2_provider(&self) -> Result<Arc<dyn Provider>, Fault> {
        // Nothing was opened from which a provider could be made.
        let Ec2Clients {} = self.ec2;
        Err(without_ec2())
    }

    pub(in crate::compose) async fn ec2_images(&self) -> Result<Arc<dyn ImageStore>, Fault> {
        Err(without_ec2())
    }

    pub(in crate::compose) async fn ec2_doctor(&self) -> Result<Vec<Check>, Fault> {
        Err(without_ec2())
    }

    /// The grace of a machine of EC2 that a record names: that of any machine.
    pub(in crate::compose) fn ec2_grace(&self) -> Duration {
        self.settings.grace
    }

    /// Never: Systems Manager is a part of EC2.
    pub fn by_systems_manager(&self) -> bool {
        false
    }
}
