//! The abilities of the provider beyond the life of a machine.

use async_trait::async_trait;
use jiff::Timestamp;
use model::base::id::ResourceId;
use model::connection::Connection;
use model::event::Teller;
use model::fault::Fault;
use model::machine::{Hardware, HostKey, Machine, Sighting};
use model::price::Quote;
use model::provider::ability::{
    Boot, EndTogether, HardwareRange, Horizon, ObserveOpen, Pricing, RenewOnMachine, Sharing, Survey,
};
use model::provider::{Ledger, MachineRequest};
use model::resource::{ObservedResource, Resource, ResourceKind};
use model::task::Command;

use crate::ec2::hardware::{types, volumes_gib};
use crate::ec2::tags::RowName;
use crate::ec2::{Ec2Provider, instances, release, settle, survey};

impl RenewOnMachine for Ec2Provider {
    fn lease_command(&self, machine: &Machine, until: Timestamp) -> Result<Command, Fault> {
        settle::lease_command(machine, until)
    }
}

#[async_trait]
impl Pricing for Ec2Provider {
    async fn quote(&self, request: &MachineRequest, teller: &Teller) -> Option<Quote> {
        // Spare capacity falls back to ordinary capacity, and one type to the next: the dearest type is the upper
        // bound.
        let mut dearest: Option<Quote> = None;
        for name in types(request) {
            let quote = self
                .prices
                .quote(&self.price_query(request.platform, &name, false, volumes_gib(request)), request.now, teller)
                .await?;
            if dearest.as_ref().is_none_or(|known| quote.per_hour() > known.per_hour()) {
                dearest = Some(quote);
            }
        }
        dearest
    }

    async fn price(&self, machine: &Machine, teller: &Teller) -> Option<Quote> {
        let hardware = machine.hardware.as_ref()?;
        let volumes_gib = self.known_launch(&machine.id).map_or(0, |known| known.volumes_gib);
        let wanted = self.price_query(machine.platform, &hardware.instance_type, hardware.spot, volumes_gib);
        self.prices.quote(&wanted, machine.created_at, teller).await
    }
}

#[async_trait]
impl Sharing for Ec2Provider {
    async fn provision(&self, request: &MachineRequest, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault> {
        self.prepare_account(request, ledger, teller).await
    }

    async fn let_in(&self, machine: &Machine, ledger: &dyn Ledger, teller: &Teller) -> Result<(), Fault> {
        self.admit(machine, ledger, teller).await
    }
}

#[async_trait]
impl HardwareRange for Ec2Provider {
    async fn vet(&self, hardware: &Hardware) -> Result<(), Fault> {
        // The default types exist in every region.
        match hardware.instance_types.is_empty() {
            true => Ok(()),
            false => instances::vet(&self.ec2(), &self.config.region, &hardware.instance_types).await,
        }
    }
}

#[async_trait]
impl Boot for Ec2Provider {
    async fn wait_until_ended(&self, machine: &Machine) -> Fault {
        match self.known_launch(&machine.id).and_then(|known| known.instance) {
            Some(id) => instances::until_ended(&self.ec2(), &id).await,
            // Another process made the machine.
            None => instances::until_none(&self.ec2(), &machine.id).await,
        }
    }

    async fn settle(&self, machine: &Machine, connection: &dyn Connection) -> Result<Machine, Fault> {
        match &machine.host_key {
            // No host key was handed over.
            HostKey::None => Ok(machine.clone()),
            _ => settle::settle(machine, connection).await,
        }
    }
}

#[async_trait]
impl Survey for Ec2Provider {
    async fn survey(&self) -> Result<Vec<Sighting>, Fault> {
        survey::survey(&self.ec2(), &self.prices, &self.config.region, Timestamp::now()).await
    }

    async fn end_expired(&self) -> Result<Vec<(Sighting, Option<String>)>, Fault> {
        survey::end_expired(&self.clients, &self.config.region).await
    }
}

#[async_trait]
impl EndTogether for Ec2Provider {
    async fn end_all(&self, resources: &[Resource]) -> Vec<ResourceId> {
        release::end_all(&self.clients, &self.account, resources).await
    }
}

#[async_trait]
impl ObserveOpen for Ec2Provider {
    async fn observe_open(&self, open: &[Resource]) -> Result<Vec<ObservedResource>, Fault> {
        self.place().spot_requests(&self.ec2(), open).await
    }
}

impl Horizon for Ec2Provider {
    /// Observing finds neither shared resources nor images, and nothing in other accounts and regions. A resource that
    /// was planned a moment ago may exist without being listed yet.
    fn can_see(&self, resource: &Resource) -> bool {
        use ResourceKind::{Instance, NetworkInterface, SpotRequest, Volume};
        let kind = matches!(resource.kind, Instance | Volume | NetworkInterface | SpotRequest);
        let age = Timestamp::now().duration_since(resource.planned_at);
        // A row has a locator because its launch was answered, so only the listing may lag behind.
        let least = if resource.locator.is_some() { release::UNKNOWN_LIMIT } else { release::TURN_UP_LIMIT };
        kind && age.unsigned_abs() >= least && self.is_here(resource)
    }

    fn is_here(&self, resource: &Resource) -> bool {
        let in_region =
            |name: RowName| name.account == self.account && name.region.as_ref() == Some(&self.config.region);
        resource.name.parse().is_ok_and(in_region)
    }
}
