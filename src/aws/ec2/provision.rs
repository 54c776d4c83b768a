//! Preparing the account before a machine is made, and letting the caller in again after its address has changed.

use ipnet::IpNet;
use jiff::Timestamp;
use model::base::id::MachineId;
use model::event::{MachineEvent, Teller};
use model::fault::Fault;
use model::machine::{Address, Machine};
use model::provider::{Ledger, MachineRequest};

use crate::ec2::Ec2Provider;
use crate::ec2::address;
use crate::ec2::platform::facts;
use crate::ec2::shared::security_group::{self, WantedAccess};
use crate::ec2::shared::{self, AccountNeeds, SharedAccount};

/// Refuses what machines of the platform do not have.
fn check(request: &MachineRequest) -> Result<(), Fault> {
    let name = request.platform.name();
    if request.hardware.managed && guest::of(request.platform).agent().is_none() {
        return Err(Fault::usage(format!(
            "the agent of Systems Manager carries no commands to machines of the platform `{name}`"
        ))
        .hint("Leave `--connect ssm` out: such machines are reached by SSH."));
    }
    if request.volume.is_some() && facts(request.platform).volume.is_none() {
        return Err(Fault::usage(format!("machines of the platform `{name}` have no second volume on EC2"))
            .hint("Choose the default file system."));
    }
    Ok(())
}

impl Ec2Provider {
    /// Reconciles what the machine needs: key pair and security group, or for a managed machine role, profile and a
    /// group that lets nobody in.
    pub(super) async fn prepare_account(
        &self,
        request: &MachineRequest,
        ledger: &dyn Ledger,
        teller: &Teller,
    ) -> Result<(), Fault> {
        let managed = request.hardware.managed;
        check(request)?;
        // The lock is held meanwhile, so that machines that are made side by side wait for the first one instead of
        // doing the same.
        let mut reconciled = self.shared.lock().await;
        let kind = (request.platform, managed);
        if reconciled.get(&kind).is_some_and(|known| known.until >= request.expires_at) {
            return Ok(());
        }
        let ranges = if managed { Vec::new() } else { self.caller_ranges().await? };
        let ec2 = self.ec2();
        let account = self.in_account(&ec2, &request.owner, &request.id, ledger, teller);
        let needs = AccountNeeds {
            platform: request.platform,
            managed,
            ranges: ranges.clone(),
            now: request.now,
            until: request.expires_at,
        };
        let shared = shared::reconcile(&account, &self.config.public_key, &needs).await?;
        reconciled.insert(kind, shared);
        if !managed {
            self.admitted.lock().await.insert(request.platform, ranges);
        }
        Ok(())
    }

    /// Lets this computer in from its present address. While the address is the one that was let in, AWS is not called.
    pub(super) async fn admit(&self, machine: &Machine, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault> {
        // Systems Manager needs no open port, and ranges that the user has named are the user's choice.
        if !self.ranges.is_empty() || !matches!(machine.address, Address::Tcp { .. }) {
            return Ok(());
        }
        let mut admitted = self.admitted.lock().await;
        let ranges = self.caller_ranges().await?;
        if admitted.get(&machine.platform) == Some(&ranges) {
            return Ok(());
        }
        let shown = ranges.iter().map(IpNet::to_string).collect();
        teller.machine(&machine.id, MachineEvent::LettingIn { ranges: shown });
        let ec2 = self.ec2();
        let account = self.in_account(&ec2, &machine.owner, &machine.id, ledger, teller);
        let wanted = WantedAccess { ranges: &ranges, now: Timestamp::now(), until: machine.expires_at };
        security_group::reconcile(&account, facts(machine.platform).group, wanted).await?;
        admitted.insert(machine.platform, ranges);
        Ok(())
    }

    /// The ranges from which machines are to be reached.
    async fn caller_ranges(&self) -> Result<Vec<IpNet>, Fault> {
        match self.ranges.is_empty() {
            true => Ok(vec![IpNet::from(address::find_own(&self.config.address_url).await?)]),
            false => Ok(self.ranges.clone()),
        }
    }

    fn in_account<'a>(
        &'a self,
        ec2: &'a aws_sdk_ec2::Client,
        owner: &'a str,
        machine: &'a MachineId,
        ledger: &'a dyn Ledger,
        teller: &'a Teller,
    ) -> SharedAccount<'a> {
        let (clients, region) = (self.clients.as_ref(), self.config.region.as_str());
        SharedAccount { clients, ec2, id: &self.account, region, owner, machine, ledger, teller }
    }
}
