//! `automation run-tests-linux`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use flow::order::Order;
use flow::testing::{OnceBegun, Records, TestJob, run_job};
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::base::text;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::image::ImagePlan;
use model::machine::{Machine, ProviderKind};
use project::mercurial;
use serde::Serialize;

use crate::command::artifact_args::ArtifactArgs;
use crate::command::distro;
use crate::command::error;
use crate::command::image::baking_for;
use crate::command::machine_args::{MachineArgs, default_ttl};
use crate::command::session::{Ending, Session};
use crate::command::testing::{COMMAND, Reports, conclude};
use crate::compose::{Context, current_folder};
use crate::ui;

/// The options of `automation run-tests-linux`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: automation run-tests-linux test-add.t test-commit.t -- --timeout 60 -j 4")]
pub struct Args {
    /// Tests to run, by the names of their files [default: all]
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Flags for run-tests.py, as they are
    #[arg(last = true, value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
    #[command(flatten)]
    machine: MachineArgs,
    /// The file system of the work folder [default: default, or the settings' `defaults.filesystem`]
    #[arg(long, value_parser = filesystems())]
    filesystem: Option<Filesystem>,
    /// The revision to test [default: the one checked out]
    #[arg(short, long, value_name = "REV")]
    revision: Option<String>,
    /// The checkout to test [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Test the source that comes with the image, wherever this is run
    #[arg(long, conflicts_with_all = ["source", "revision", "working_copy"])]
    image_source: bool,
    /// Also send uncommitted changes of tracked files
    #[arg(long)]
    working_copy: bool,
    /// Call a run in which every test was skipped passed
    #[arg(long)]
    allow_all_skipped: bool,
    /// How long the tests may take altogether; tests that did not end by then are lost
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// How long to wait for another run that uses a machine of somebody else's [default: 2m]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    wait: Option<Duration>,
    /// How long the machine lives at most, whatever happens to this command [default: 13h, 2h on EC2]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    ttl: Option<Duration>,
    /// Return as soon as the tests run; they go on on the machine, which lives until its expiry (`--ttl`). `runs attach` follows
    /// them. Prints the run's id; with `--json` also its machine and when that expires
    #[arg(long, conflicts_with = "junit")]
    detach: bool,
    #[command(flatten)]
    artifacts: ArtifactArgs,
    #[command(flatten)]
    reports: Reports,
}

/// The JSON of `--detach --json`.
#[derive(Serialize)]
struct Detached<'a> {
    id: &'a RunId,
    machine: &'a MachineId,
    expires_at: Timestamp,
}

/// The size of the second volume, bytes: that of the original tool. On this computer the file behind it is sparse.
const VOLUME: u64 = 8 << 30;

/// The time that a machine needs before and after its tests: for booting, preparing, bringing the results home.
const AROUND_TESTS: Duration = Duration::from_secs(3600);

/// The names of file systems, for the command line.
fn filesystems() -> impl TypedValueParser<Value = Filesystem> {
    let named = |it: Filesystem| PossibleValue::new(it.name()).help(it.place());
    PossibleValuesParser::new(Filesystem::ALL.map(named)).try_map(|name: String| name.parse::<Filesystem>())
}

impl Args {
    /// Refuses options that have no meaning together, or with the provider.
    fn refuse_unfit(&self, kind: ProviderKind) -> Result<(), Fault> {
        self.machine.refuse_unfit(kind)?;
        if let Some(flag) = mercurial::asking(&self.flags) {
            return Err(Fault::usage(format!("with `{flag}` the test runner runs no test"))
                .hint("`tests/run-tests.py --help` in a checkout lists the runner's flags."));
        }
        if self.wait.is_some() && kind != ProviderKind::Host {
            return Err(Fault::usage(
                "`--wait` is for a machine of somebody else's (`--host`): a machine of its own is used by nobody else",
            )
            .hint("Leave it out."));
        }
        Ok(())
    }

    /// The source that the user asked for.
    fn wish(&self) -> mercurial::SourceChoice<'_> {
        mercurial::SourceChoice {
            source: self.source.as_deref(),
            of_image: self.image_source,
            revision: self.revision.as_deref(),
            working_copy: self.working_copy,
        }
    }
}

/// Runs the tests.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let kind = context.default_provider()?;
    args.refuse_unfit(kind)?;
    let context = context.privileged(args.machine.privileged_machine)?;
    context.require_ssh()?;
    context.require_linux()?;
    let ttl = lifetime(&args, kind)?;
    let current = current_folder()?;
    let checkout = mercurial::find(&args.wish(), &current).await?;
    let tests = mercurial::resolve_tests(&args.tests, &current, checkout.as_ref(), args.image_source)?;
    let needs = match &checkout {
        Some(checkout) if kind != ProviderKind::Host && mercurial::builds(&args.flags) => checkout.needs().await?,
        _ => mercurial::BuildNeeds::default(),
    };
    let chosen = match kind {
        ProviderKind::Host => None,
        _ => Some(
            distro::choose(&context, &args.machine, checkout.as_ref(), &needs)
                .map_err(|fault| args.machine.name_setting(&context, fault))?,
        ),
    };
    let (plan, why) = chosen.map(|chosen| (chosen.plan, chosen.why)).unzip();
    let values = match &plan {
        Some(plan) => plan.values.clone(),
        None => args.machine.parameters.without_image(&context)?,
    };
    let filesystem = args.filesystem.unwrap_or(context.settings.defaults.filesystem);
    let runner = mercurial::LinuxTests {
        tests,
        flags: args.flags.clone(),
        filesystem,
        python_version: mercurial::python(&values),
        image: plan.as_ref().map(ImagePlan::fingerprint),
        checkout,
        ssh: context.ssh()?,
        patience: args.wait.unwrap_or(mercurial::PATIENCE),
    };
    let fetch = args.artifacts.check()?;
    let volume = filesystem.needs_volume().then_some(VOLUME);
    let order = Order { volume, filesystem, ..args.machine.order(&context, plan.as_ref(), "hg", ttl) };
    args.reports.check()?;
    // The time that the look-ups above took belongs to no part of the run.
    let began = Instant::now();
    let session = Session::begin(context, COMMAND).await?;
    for remark in why.flatten().into_iter().chain(runner.checkout.as_ref().and_then(|checkout| checkout.remark.clone()))
    {
        session.run.tell(remark);
    }
    let job = TestJob {
        runner: &runner,
        plan: plan.as_ref(),
        baking: &baking_for(&order),
        order: &order,
        clauses: &[mercurial::CLAUSES],
        fetch: &fetch,
        limit: args.timeout,
        allow_all_skipped: args.allow_all_skipped,
        began,
        once_begun: OnceBegun::Follow(&|| ()),
    };
    let result = drive(&session, &args, job).await;
    session.end(result).await
}

/// How long the machine may live: longer than the tests, by the time that booting and preparing take.
fn lifetime(args: &Args, kind: ProviderKind) -> Result<Duration, Fault> {
    let ttl = args.ttl.unwrap_or_else(|| default_ttl(kind));
    let most = ttl.saturating_sub(AROUND_TESTS);
    match args.timeout {
        Some(timeout) if timeout > most && args.ttl.is_none() && kind == ProviderKind::Ec2 => {
            Ok(timeout + AROUND_TESTS)
        }
        Some(timeout) if timeout > most => Err(Fault::usage(format!(
            "`--timeout {}` leaves no time before and after the tests of a machine that lives {}",
            text::seconds(timeout),
            text::seconds(ttl)
        ))
        .hint("Give a longer `--ttl`.")),
        _ => Ok(ttl),
    }
}

/// Runs the tests, in this process to their end, or until they are left on their machine.
async fn drive(session: &Session, args: &Args, job: TestJob<'_>) -> Result<Ending, Fault> {
    let unannounced = AtomicBool::new(false);
    let announce = |machine: &Machine| {
        announce(session, args, machine).inspect_err(|_| unannounced.store(true, Ordering::Relaxed))
    };
    let once_begun =
        if args.detach { OnceBegun::Leave(&announce) } else { OnceBegun::Follow(&|| session.detachable()) };
    let (output, builds) = (session.output(), session.context.state.builds());
    let records = Records { folder: &session.dir, output: &output };
    let job = TestJob { once_begun, ..job };
    let (ended, task) = run_job(&session.run, &session.site, &job, &records, &builds).await?;
    if unannounced.into_inner() {
        // The fault reports the failed write, with what became of the tests.
        drop(ui::take_write_fault());
    }
    let ending = conclude(session, &args.reports, task, ended).await?;
    Ok(if args.detach { accept_detach(ending) } else { ending })
}

/// Prints the run's id, or JSON, for `--detach`, while the tests can still be cancelled where that fails.
fn announce(session: &Session, args: &Args, machine: &Machine) -> Result<(), Fault> {
    let screen = &session.context.screen;
    let printed = match args.reports.json {
        true => screen.try_json(&Detached { id: session.id(), machine: &machine.id, expires_at: machine.expires_at }),
        false => screen.try_data(&format!("{}\n", session.id())),
    };
    printed.map_err(|error| {
        ui::unwritten_fault(error)
            .hint("Nobody would know the run's id, so its tests were cancelled and its machine released.")
    })
}

/// The ending of a run that was asked to detach: to leave before the tests end is a success then.
fn accept_detach(ending: Ending) -> Ending {
    let Some(machine) = &ending.detached else { return ending };
    // A machine whose lease could not be extended ends too early: that is not a success.
    let code = if machine.kept { error::exit::OK } else { error::exit::INFRASTRUCTURE };
    Ending { code, ..ending }
}
