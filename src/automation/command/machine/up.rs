//! `automation machine up`.

use std::path::Path;
use std::time::Duration;

use flow::image::bake::request_with_image;
use flow::lease::{Lease, undo, until_stopped};
use flow::naming;
use flow::order::Order;
use model::base::name::MachineName;
use model::base::text;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::image::ImagePlan;
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::MachineRequest;
use model::work::Work;
use project::image::{ImageChoice, SetUp};

use crate::command::boot_image::{BootImage, BootImages, plan_of_snapshot};
use crate::command::dry_run::{self, Wanted};
use crate::command::image::baking_for;
use crate::command::machine_args::MachineArgs;
use crate::command::session::{Ending, Session};
use crate::compose::Context;
use crate::ui;

/// The command's name in the records of runs.
pub(crate) const COMMAND: &str = "machine up";

/// The definition of the image that machines have where none is named.
const IMAGE: &str = "linux-dev";

/// Make a machine, or one of each of several distributions, and keep it until its expiry.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image's definition, as `image build` takes it, or an image that `machine snapshot` has made; `plain` is what `automation run` boots
    /// [default: linux-dev]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// A line for the shell, or a file with a script, that root runs on the image once; the result is kept as an image of its own
    #[arg(long, value_name = "LINE|FILE")]
    setup: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
    /// How long it lives
    #[arg(long, value_name = "SPAN", default_value = "2h", value_parser = model::base::text::parse_ttl)]
    ttl: Duration,
    /// End it when nobody was logged in and no task ran for so long; `--ttl` holds all the same
    #[arg(long, value_name = "SPAN", value_parser = parse_idle)]
    idle: Option<Duration>,
    /// Give it a second volume of this size: an ext4 file system mounted at `/run/hg-volume`, or the block device
    /// `/dev/hg-volume` on EC2 and on a privileged machine
    #[arg(long, value_name = "SIZE", value_parser = parse_volume)]
    volume: Option<u64>,
    /// Name it, so that commands can mean it by that: small letters, digits, hyphens [default: two words, made up]
    #[arg(long, value_name = "NAME")]
    name: Option<MachineName>,
    /// Say what would be made, from what image and at what price; make nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the machine as JSON, several as a list
    #[arg(long)]
    json: bool,
}

/// The least size for a useful file system; `btrfs` needs 109 MiB and `xfs` 300, and their tools say so.
const LEAST_VOLUME: u64 = 16 << 20;

/// The most that a file on `ext4` can hold, and a volume on EC2.
const MOST_VOLUME: u64 = 16 << 40;

fn parse_volume(text: &str) -> Result<u64, String> {
    match text::parse_bytes(text)? {
        bytes if !(LEAST_VOLUME..=MOST_VOLUME).contains(&bytes) => {
            let (least, most) = (text::bytes(LEAST_VOLUME), text::bytes(MOST_VOLUME));
            Err(format!("a volume has {least} to {most}, so that a file system fits on it, such as `1G`"))
        }
        bytes => Ok(bytes),
    }
}

/// The least time that a machine may be idle: what watches it looks every few seconds.
const LEAST_IDLE: Duration = Duration::from_secs(10);

fn parse_idle(text: &str) -> Result<Duration, String> {
    match text::parse_duration(text)? {
        idle if idle < LEAST_IDLE => Err(format!("a machine may be idle for at least {}", text::seconds(LEAST_IDLE))),
        idle => Ok(idle),
    }
}

/// Refuses to end a machine that is idle where nothing on it could see that, and where it ends before.
fn refuse_idle(context: &Context, kind: ProviderKind, args: &Args, plan: &ImagePlan) -> Result<(), Fault> {
    let Some(idle) = args.idle else { return Ok(()) };
    if idle >= args.ttl {
        let (idle, ttl) = (text::seconds(idle), text::seconds(args.ttl));
        return Err(Fault::usage(format!("a machine that lives for {ttl} is never idle for {idle}"))
            .hint("Give a shorter `--idle`, or a longer `--ttl`."));
    }
    if kind == ProviderKind::Ec2 && plan.platform != Platform::default() {
        return Err(Fault::usage("what ends a machine with Windows on EC2 does not see whether somebody uses it")
            .hint("Leave `--idle` out; `--ttl` ends it."));
    }
    if context.sites.by_systems_manager() {
        return Err(Fault::usage(
            "a machine that is reached by `--connect ssm` has no logins by which its use is seen",
        )
        .hint("Leave `--idle` out; `--ttl` ends it."));
    }
    Ok(())
}

/// The file system of a second volume on a machine that may not make one itself.
const VOLUME_FILESYSTEM: Filesystem = Filesystem::Ext4;

/// Makes the machine.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    if kind == ProviderKind::Host {
        return Err(Fault::usage(format!("provider `{}` makes no machines", kind.name()))
            .hint("Leave `--provider` and `--host` out for one on this computer, or use that machine with `run-tests-linux --host`."));
    }
    args.machine.refuse_unfit(&[kind])?;
    if let Some(name) = &args.name {
        naming::refuse_taken(context.journal.as_ref(), name, context.now())?;
    }
    let context = context.privileged(args.machine.hardware.privileged_machine)?;
    let wanted = args.wanted(&context, kind).await?;
    if args.dry_run {
        let wanted =
            wanted.iter().map(|(plan, order)| Wanted { cell: None, kind, machines: 1, plan: Some(plan), order });
        return dry_run::show(&context, &wanted.collect::<Vec<_>>(), None, args.json).await;
    }
    let session = Session::begin(context, COMMAND).await?;
    let result = match make_all(&session, &wanted, args.name.as_ref()).await {
        Ok(machines) => hand_over(&session, &machines, &args).await,
        Err(fault) => Err(fault),
    };
    session.end(result).await
}

impl Args {
    /// The image and the order of each machine, one for each distribution that was named.
    async fn wanted(&self, context: &Context, kind: ProviderKind) -> Result<Vec<(ImagePlan, Order)>, Fault> {
        let several = self.machine.distro_axis()?;
        if several.is_some() && self.name.is_some() {
            return Err(Fault::usage("`--name` names one machine, and `--distro` asks for several")
                .hint("Leave `--name` out: each gets a name that is made up."));
        }
        let mut wanted = Vec::new();
        for (plan, user) in self.images(context, kind, several.map(|axis| axis.values)).await? {
            refuse_idle(context, kind, self, &plan)?;
            let order = Order {
                volume: self.volume,
                idle: self.idle,
                filesystem: VOLUME_FILESYSTEM,
                ..self.machine.order(context, Some(&plan), &user, self.ttl)
            };
            wanted.push((plan, order));
        }
        Ok(wanted)
    }

    /// The image of each machine, and the user who logs in.
    async fn images(
        &self,
        context: &Context,
        kind: ProviderKind,
        distros: Option<Vec<String>>,
    ) -> Result<Vec<(ImagePlan, String)>, Fault> {
        let set_up = self.setup.as_deref().map(|setup| SetUp::read(setup, Path::new(""))).transpose()?;
        let image = self.image.as_deref().unwrap_or(IMAGE);
        let images = BootImages::of(context, &[kind], [image]).await?;
        let definition = match images.get(context, kind, image)? {
            BootImage::Definition(definition) => definition,
            BootImage::Snapshot(record) => {
                let plan = plan_of_snapshot(record, set_up.as_ref(), kind, &self.machine.given_of_definition())?;
                return Ok(vec![(plan, record.snapshot.as_ref().map(|of| of.user.clone()).unwrap_or_default())]);
            }
        };
        let usual = self.machine.distro(context, &definition).to_owned();
        let plan = |distro: &String| {
            let choice = self.machine.parameters.choice(context, &definition, distro)?;
            let plan = definition.plan(&ImageChoice { set_up: set_up.clone(), ..choice });
            let plan = plan.map_err(|fault| self.machine.name_setting(context, fault))?;
            Ok((plan, definition.login_user().to_owned()))
        };
        distros.unwrap_or_else(|| vec![usual]).iter().map(plan).collect()
    }
}

/// Makes every machine that is wanted, or none: those that are there are ended where another cannot be made. Images come first, since
/// baking one may take longer than a machine is wanted.
async fn make_all(
    session: &Session,
    wanted: &[(ImagePlan, Order)],
    name: Option<&MachineName>,
) -> Result<Vec<Machine>, Fault> {
    let (run, site) = (&session.run, &session.site);
    let request = async |(plan, order): &(ImagePlan, Order)| {
        request_with_image(run, site, Some(plan), &baking_for(order, None), order).await
    };
    for one in wanted.iter().skip(1) {
        request(one).await?;
    }
    let mut machines = Vec::new();
    for one in wanted {
        let made = match request(one).await {
            Ok(request) => make(session, request, name).await,
            Err(fault) => Err(fault),
        };
        match made {
            Ok(machine) => machines.push(machine),
            Err(fault) => return Err(undo_all(session, &machines, fault).await),
        }
    }
    Ok(machines)
}

/// Ends what was made; gives the fault that was the reason, with what is left.
async fn undo_all(session: &Session, machines: &[Machine], mut fault: Fault) -> Fault {
    for machine in machines {
        fault = undo(&session.run, &session.site, &machine.id, fault).await;
    }
    fault
}

/// Prints the ids of the machines. One whose id could not be printed would be lost to its user, so they are ended then.
async fn hand_over(session: &Session, machines: &[Machine], args: &Args) -> Result<Ending, Fault> {
    let screen = &session.context.screen;
    let printed = match (args.json, machines) {
        (true, [one]) => screen.try_json(one),
        (true, several) => screen.try_json(&several),
        (false, _) => screen.try_data(&machines.iter().map(|machine| format!("{}\n", machine.id)).collect::<String>()),
    };
    if let Err(error) = printed {
        // The fault below reports the failed write, with what became of the machine.
        drop(ui::take_write_fault());
        let fault = ui::unwritten_fault(error).hint("Nobody would know the machine's id, so it was ended.");
        return Err(undo_all(session, machines, fault).await);
    }
    if let Some(idle) = machines.iter().find_map(|machine| machine.idle) {
        screen.message(&format!("It ends earlier when idle for {}: without a login and a task.", text::seconds(idle)));
    }
    if args.image.is_none() {
        screen.message(&format!(
            "It has the image `{IMAGE}`. `automation run` boots `plain`, as `--image plain` does here."
        ));
    }
    let told = machines.iter().map(|machine| format!("{} until {:.0}", machine.id, machine.expires_at));
    Ok(Ending { code: 0, summary: told.collect::<Vec<_>>().join(", "), detached: Vec::new() })
}

async fn make(session: &Session, request: MachineRequest, name: Option<&MachineName>) -> Result<Machine, Fault> {
    let run = session.run.on(&request.id);
    let step = run.teller.begin(Work::Booting { machine: request.id.clone(), image: request.image.clone() });
    let mut lease = Lease::acquire(&session.run, &session.site, &request).await?;
    let named = naming::name(run.journal.as_ref(), &lease.machine, name, run.now());
    let connected = match named {
        Ok(machine) => {
            lease.machine = machine;
            lease.connect(&request.user).await
        }
        Err(fault) => Err(fault),
    };
    // A machine is handed over only when its user can log in, and not after the user has interrupted.
    let ready = match connected {
        Ok(connection) => {
            let goodbye = async {
                connection.close().await;
                Ok(())
            };
            until_stopped(&session.run, goodbye).await
        }
        Err(fault) => Err(fault),
    };
    match ready {
        Ok(()) => {
            let machine = lease.leave().await?;
            step.finish();
            Ok(machine)
        }
        Err(fault) => {
            lease.give_up().await;
            Err(undo(&session.run, &session.site, &request.id, fault).await)
        }
    }
}
