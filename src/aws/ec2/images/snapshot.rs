//! Making an image of the state of a machine that is up, and goes on.

use std::time::Duration;

use aws_sdk_ec2::types::{ResourceType, Tag};
use model::base::deadline::{Deadline, Pace};
use model::connection::Connection;
use model::event::Teller;
use model::exit::Exit;
use model::fault::Fault;
use model::image::{Fingerprint, ImageRecord, SnapshotOrder};
use model::machine::{Address, Machine};
use model::output::{OutputLimits, run_command};
use model::provider::TakenSnapshot;
use model::resource::{PlannedResource, ResourceKind};

use crate::ec2::filters;
use crate::ec2::images::record::{self, ami_name};
use crate::ec2::images::{Ec2Images, bake};
use crate::ec2::platform::facts;
use crate::ec2::settle::life;
use crate::ec2::tags::{self, RowName};
use crate::ec2::trouble;

/// How long connecting to a machine that is up may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long the machine may take to set its own things aside, with all that is on its way to the disk.
const ASIDE_LIMITS: OutputLimits = OutputLimits { bytes: 8 << 10, time: Duration::from_secs(300) };

/// How long EC2 may take to begin a snapshot of a disk. From then on the disk may change: the snapshot is of the moment in which it began.
const BEGIN_LIMIT: Duration = Duration::from_secs(120);

/// After how long a machine's own things come back by themselves: later than this waits for a snapshot to begin.
const ASIDE: Duration = Duration::from_secs(180);

/// The exit code by which a machine says that a run is at work on it.
const BUSY: Exit = Exit::Code(3);

/// The pauses between two looks for a snapshot.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

impl Ec2Images {
    /// Refuses a machine whose disk this cannot make an image of.
    pub(super) async fn vet_disk(&self, machine: &Machine) -> Result<(), Fault> {
        if life(machine.platform)?.set_aside(&machine.user, ASIDE).is_none() {
            return Err(Fault::usage(format!(
                "no image can be made of the state of a {} machine on EC2",
                machine.platform.name()
            ))
            .hint("`automation image build` makes images of a definition."));
        }
        if let Address::Ssm { .. } = machine.address {
            return Err(Fault::usage(format!("machine `{}` is not reached by SSH", machine.id))
                .hint("Make one without `--connect ssm`: what is its own has to be taken off its disk first."));
        }
        self.instance_named(&machine.id).await.map(drop)
    }

    /// Makes the image and waits until machines can boot from it.
    pub(super) async fn take_disk(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault> {
        let machine = order.machine;
        let instance = self.instance_named(&machine.id).await?;
        let fingerprint = Fingerprint::random();
        let name = ami_name(order.name.as_str(), &fingerprint);
        let account = &self.clients.identity().await?.account;
        let planned = |kind, name: String| PlannedResource {
            machine: taken.id.clone(),
            kind,
            name: RowName::regional(account, &self.region, name).to_string(),
        };
        let image_row = taken.ledger.plan(&planned(ResourceKind::MachineImage, name.clone()))?;
        let disk_row = taken.ledger.plan(&planned(ResourceKind::Snapshot, bake::part_name(&name, 0)))?;
        let id = self.begin(order, taken, &fingerprint, &name, &instance).await?;
        let image = self.until_whole(&id, facts(machine.platform).image_limit, teller).await?;
        for (at, snapshot) in record::snapshots(&image).iter().enumerate() {
            let row = match at {
                0 => disk_row.clone(),
                _ => taken.ledger.plan(&planned(ResourceKind::Snapshot, bake::part_name(&name, at)))?,
            };
            taken.ledger.mark_kept(&row, snapshot)?;
        }
        taken.ledger.mark_kept(&image_row, &id)?;
        let lacks = || Fault::infrastructure(format!("the image `{id}` lacks its tags"));
        record::record(&image).ok_or_else(lacks)
    }

    /// Begins the image while what is the machine's own is off its disk; gives the image's id.
    async fn begin(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        fingerprint: &Fingerprint,
        name: &str,
        instance: &str,
    ) -> Result<String, Fault> {
        let machine = order.machine;
        let life = life(machine.platform)?;
        let connection = taken.connector.connect(machine, &machine.user, CONNECT_LIMIT, false).await?;
        let aside =
            life.set_aside(&machine.user, ASIDE).ok_or_else(|| Fault::usage("this machine has no such script"))?;
        ask(connection.as_ref(), &aside, machine).await?;
        let begun = async {
            let id = self.create_of_state(order, taken, fingerprint, name, instance).await?;
            self.until_begun(fingerprint, name).await?;
            Ok(id)
        };
        let begun: Result<String, Fault> = begun.await;
        let back = match life.put_back(&machine.user) {
            Some(back) => ask(connection.as_ref(), &back, machine).await,
            None => Ok(()),
        };
        connection.close().await;
        let id = begun?;
        // It comes back by itself as well.
        back.map_err(|fault| {
            fault.hint(format!("The machine's keys are back {} s after they were set aside.", ASIDE.as_secs()))
        })?;
        Ok(id)
    }

    /// Makes the call. The instance is not restarted: it goes on.
    async fn create_of_state(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        fingerprint: &Fingerprint,
        name: &str,
        instance: &str,
    ) -> Result<String, Fault> {
        let tags = self.tags_of_state(order, taken, fingerprint);
        let made = self
            .ec2()
            .create_image()
            .instance_id(instance)
            .name(name)
            .no_reboot(true)
            .description(format!("{} of {}", order.name, order.machine.id))
            .tag_specifications(tags::specification(ResourceType::Image, &tags))
            .tag_specifications(tags::specification(ResourceType::Snapshot, &tags))
            .send()
            .await;
        let made = made.map_err(|error| trouble::fault(&format!("make the image `{name}` of `{instance}`"), error))?;
        made.image_id.ok_or_else(|| Fault::infrastructure(format!("the image `{name}` has no id")))
    }

    fn tags_of_state(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        fingerprint: &Fingerprint,
    ) -> Vec<Tag> {
        let of = tags::ImageTags {
            name: &format!("{}{}", tags::PREFIX, order.name),
            fingerprint: &fingerprint.0,
            owner: &self.reader.owner,
            distro: order.distro,
            state_id: &self.state_id,
        };
        let mut tags = of.tags();
        tags.push(tags::tag(tags::RUN, taken.run.as_str()));
        // A cut-off one is found by the id under which the journal has it.
        tags.push(tags::tag(tags::MACHINE, taken.id.as_str()));
        tags.extend(record::tags_of(&order.of()));
        tags
    }

    /// Waits until EC2 has begun the snapshot of the disk.
    async fn until_begun(&self, fingerprint: &Fingerprint, name: &str) -> Result<(), Fault> {
        let deadline = Deadline::after(BEGIN_LIMIT, format!("the snapshot of the image `{name}` to begin"));
        let looking = async {
            let mut pace = Pace::new(PAUSES);
            loop {
                let of = filters::match_tag(tags::FINGERPRINT, &fingerprint.0);
                let answer = self.ec2().describe_snapshots().owner_ids("self").filters(of).send().await;
                let answer = answer.map_err(|error| trouble::fault("look for the snapshot of an image", error))?;
                if !answer.snapshots().is_empty() {
                    return Ok(());
                }
                pace.pause().await;
            }
        };
        deadline.bound(looking).await?
    }
}

/// Asks the machine to set things aside, or to put them back.
async fn ask(connection: &dyn Connection, command: &model::task::Command, machine: &Machine) -> Result<(), Fault> {
    let done = run_command(connection, command, ASIDE_LIMITS).await?;
    match &done.exit {
        Exit::Code(0) => Ok(()),
        exit if *exit == BUSY => Err(Fault::usage(format!("a run is at work on machine `{}`", machine.id))
            .because(done.stderr_text())
            .hint("On EC2 its files would become part of the image: try again when it has ended.")),
        _ => Err(Fault::infrastructure(format!("machine `{}` cannot take its own keys off its disk", machine.id))
            .because(done.ending())),
    }
}
