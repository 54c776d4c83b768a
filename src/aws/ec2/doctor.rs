//! Checks that can be made before a machine is requested: credentials, region, the way back to this computer.

use std::sync::Arc;

use model::check::Check;
use model::fault::Fault;

use crate::ec2::clients::Clients;
use crate::ec2::{address, trouble};

/// Runs the checks; they create nothing.
pub async fn checks(clients: Result<Arc<Clients>, Fault>, address_url: &str) -> Vec<Check> {
    let clients = match clients {
        Ok(clients) => clients,
        Err(fault) => return vec![broken("credentials", fault)],
    };
    let mut checks = vec![match clients.identity().await {
        Ok(identity) => Check::good("credentials", format!("{} in account {}", identity.arn, identity.account)),
        Err(fault) => broken("credentials", fault),
    }];
    if checks.iter().all(|check| check.ok) {
        let asked = clients.ec2(clients.region()).describe_vpcs().send().await;
        checks.push(match asked {
            Ok(_) => Check::good("region", clients.region()),
            Err(error) => broken("region", trouble::fault(&format!("look around in `{}`", clients.region()), error)),
        });
    }
    checks.push(match address::find_own(address_url).await {
        Ok(own) => Check::good("address", format!("{own}; port 22 of machines is opened for it alone")),
        // A user who names a range does not need the address.
        Err(fault) => broken("address", fault).optional(),
    });
    checks
}

fn broken(name: &str, fault: Fault) -> Check {
    let found = fault.line();
    match fault.hint {
        Some(hint) => Check::bad(name, found, hint),
        None => Check { remedy: None, ..Check::bad(name, found, "") },
    }
}
