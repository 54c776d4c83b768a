//! `automation run-tests-linux`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::id::MachineId;
use crate::base::text;
use crate::command::context::Context;
use crate::command::error;
use crate::command::image::BAKE_EXPIRY;
use crate::command::machine_args::{MachineArgs, default_ttl};
use crate::command::session::{Ending, Session};
use crate::flow::bake::{Options, bake};
use crate::flow::durable::Durable;
use crate::flow::lease::{until_stopped, with_machine};
use crate::flow::suite::Finished;
use crate::flow::{Stage, later, suite};
use crate::model::connection::Chunk;
use crate::model::event::Event;
use crate::model::fault::{Fault, FaultKind};
use crate::model::image::ImagePlan;
use crate::model::machine::{Caps, Hardware, Machine, ProviderKind};
use crate::model::outcome::{Results, TimeSplit, count, verdict};
use crate::model::provider::MachineRequest;
use crate::model::suite::Suite;
use crate::model::task::{Offsets, TaskOutput};
use crate::project::mercurial;
use crate::report;
use crate::state::runs::RunFile;

/// Run Mercurial's test suite on an ephemeral Linux machine.
///
/// Inside a checkout of Mercurial its revision is sent and tested, elsewhere the source that comes with the image. The
/// image is baked on first use. Exit code: 0 all ran and passed, 1 some failed, 2 usage, 3 a cause outside, 4 something
/// was lost, 5 something was left behind, 130 interrupted.
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
    #[arg(long, value_enum)]
    filesystem: Option<Filesystem>,
    /// The revision to test [default: the one checked out]
    #[arg(short, long, value_name = "REV")]
    revision: Option<String>,
    /// The checkout to test [default: the one around the current folder]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Also send uncommitted changes of tracked files
    #[arg(long)]
    working_copy: bool,
    /// How long the tests may take altogether; tests that did not end by then are lost
    #[arg(long, value_name = "SPAN", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// How long the machine lives at most, whatever happens to this command [default: 13h, 2h on EC2]
    #[arg(long, value_name = "SPAN", value_parser = text::parse_ttl)]
    ttl: Option<Duration>,
    /// Also write the JUnit report to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print the results as JSON; the tests' output goes to standard error
    #[arg(long)]
    pub json: bool,
}

/// A file system for the work folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Filesystem {
    /// The machine's root
    Default,
    /// On a volume of its own
    Btrfs,
    /// On a volume of its own
    Ext3,
    /// On a volume of its own
    Ext4,
    /// On a volume of its own
    Jfs,
    /// In memory
    Tmpfs,
    /// On a volume of its own
    Xfs,
}

/// The size of the second volume: the original's second volume had 8 GB. The file behind it is sparse.
const VOLUME: u64 = 8 << 30;

/// What a machine needs before and after its tests: booting, preparing, bringing the results home.
const AROUND_TESTS: Duration = Duration::from_secs(3600);

impl Filesystem {
    fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Btrfs => "btrfs",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Jfs => "jfs",
            Self::Tmpfs => "tmpfs",
            Self::Xfs => "xfs",
        }
    }
}

/// Runs the tests.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let began = Instant::now();
    let kind = context.default_provider()?;
    args.machine.refuse_unfit(kind)?;
    context.require_ssh()?;
    let ttl = lifetime(&args, kind)?;
    let caps = args.machine.caps()?;
    let plan = match kind {
        ProviderKind::Host => None,
        _ => {
            let choice = context.choice(&args.machine.distro(&context), Some(&args.machine.python(&context)))?;
            Some(context.definition("linux-dev")?.plan(&choice)?)
        }
    };
    let current = std::env::current_dir().map_err(|e| Fault::outside("cannot tell the current folder").because(e))?;
    let checkout =
        mercurial::find(args.source.as_deref(), &current, args.revision.as_deref(), args.working_copy).await?;
    let filesystem = match args.filesystem {
        Some(filesystem) => filesystem.name().to_owned(),
        None => context.settings.defaults.filesystem.clone(),
    };
    let suite = mercurial::LinuxTests {
        tests: args.tests.clone(),
        flags: args.flags.clone(),
        filesystem: filesystem.clone(),
        python_version: plan.as_ref().map_or_else(|| args.machine.python(&context), |plan| plan.python.clone()),
        checkout,
        ssh: context.ssh()?,
    };
    if let Some(path) = &args.junit {
        writable(path)?;
    }
    let volume = (!matches!(filesystem.as_str(), "default" | "tmpfs")).then_some(VOLUME);
    let request = request(&context, &args, plan.as_ref(), caps, volume, ttl)?;
    let session = Session::begin(context, "run-tests-linux").await?;
    let result = drive(&session, &args, began, plan.as_ref(), &suite, request).await;
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

/// A report that cannot be written is better known before the tests than after them.
fn writable(path: &Path) -> Result<(), Fault> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map(drop)
        .map_err(|error| Fault::usage(format!("cannot write `--junit {}`", path.display())).because(error))
}

fn request(
    context: &Context,
    args: &Args,
    plan: Option<&ImagePlan>,
    caps: Caps,
    volume: Option<u64>,
    ttl: Duration,
) -> Result<MachineRequest, Fault> {
    let now = context.now();
    Ok(MachineRequest {
        id: MachineId::random(),
        run: crate::base::id::RunId::new(now),
        owner: context.owner.clone(),
        image: plan.map_or_else(|| "somebody else's machine".to_owned(), |plan| plan.name.clone()),
        layers: plan.map(|plan| plan.chain(plan.layers.len())).unwrap_or_default(),
        cloud: plan.and_then(ImagePlan::cloud).cloned(),
        hardware: args.machine.hardware(context),
        user: "hg".to_owned(),
        network: args.machine.network(context),
        caps,
        volume,
        now,
        expires_at: later(now, ttl),
        grace: context.grace(),
        max_cost: args.machine.max_cost(),
    })
}

async fn drive(
    session: &Session,
    args: &Args,
    began: Instant,
    plan: Option<&ImagePlan>,
    suite: &mercurial::LinuxTests,
    request: MachineRequest,
) -> Result<Ending, Fault> {
    let (stage, context) = (&session.stage, &session.context);
    if let Some(plan) = plan {
        let options = Options {
            keep_failed: false,
            expiry: BAKE_EXPIRY,
            hardware: Hardware::default(),
            max_cost: args.machine.max_cost(),
        };
        bake(stage, context.images(stage.provider.kind()).await?.as_ref(), plan, &options).await?;
    }
    let image = began.elapsed().as_secs_f64();
    // Baking takes minutes: a lease from before it would be over.
    let now = context.now();
    let expires_at = later(now, request.expires_at.duration_since(request.now).unsigned_abs());
    let request = MachineRequest { run: session.id().clone(), now, expires_at, ..request };
    let target = session.dir.path().join("machine.json");
    let clean = suite.clean(&suite::folder(stage));
    let ended = with_machine(stage, &request, Some(&clean), async |machine, connection| {
        write_target(&target, machine)?;
        if machine.provider == ProviderKind::Host {
            until_stopped(stage, require_contract(stage, connection, suite)).await?;
        }
        let before = began.elapsed().as_secs_f64();
        let durable = Durable::new(stage, machine, None, &suite::folder(stage));
        let ready = suite::set_up(stage, machine, &durable, suite, &target).await?;
        let begun = suite::begin(stage, &durable, ready, args.timeout, &|_| Ok(())).await?;
        let shown = Shown { stage, offsets: Mutex::default() };
        match suite::finish(stage, machine, &durable, suite, &begun, &shown).await? {
            Finished::Ran(ran) => Ok((before, ran)),
            Finished::Detached => Err(Fault::outside("the run was left")),
        }
    })
    .await;
    let (before, ran) = ended.result?;
    let results = Results {
        id: session.id().clone(),
        verdict: verdict(&ran.tests, &ran.runner),
        counts: count(&ran.tests),
        time: TimeSplit {
            total: began.elapsed().as_secs_f64(),
            image,
            setup: before - image + ran.setup,
            tests: ran.testing,
        },
        image: match plan {
            Some(plan) => format!("{} {}", plan.name, plan.fingerprint()),
            None => request.image,
        },
        source: ran.source,
        cost: ended.cost,
        runner: ran.runner,
        tests: ran.tests,
    };
    publish(session, args, &results)
}

/// Shows the output of the tests as it comes.
struct Shown<'a> {
    stage: &'a Stage,
    offsets: Mutex<Offsets>,
}

impl TaskOutput for Shown<'_> {
    fn offsets(&self) -> Offsets {
        *self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, chunk: &Chunk) -> Result<(), Fault> {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        match chunk {
            Chunk::Stdout(bytes) => offsets.stdout += bytes.len() as u64,
            Chunk::Stderr(bytes) => offsets.stderr += bytes.len() as u64,
        }
        self.stage.tell(Event::Output(chunk.clone()));
        Ok(())
    }
}

/// `hg` starts our own program in place of `ssh`; this file tells it which machine is meant.
fn write_target(path: &Path, machine: &Machine) -> Result<(), Fault> {
    let fault = || Fault::outside(format!("cannot write `{}`", path.display()));
    let text = serde_json::to_vec_pretty(machine).map_err(|error| fault().because(error))?;
    crate::state::file::write_atomic(path, &text)
}

async fn require_contract(
    stage: &crate::flow::Stage,
    connection: &dyn crate::model::connection::Connection,
    suite: &dyn Suite,
) -> Result<(), Fault> {
    let checks = suite::check(stage, connection, suite).await?;
    let broken: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok && check.required)
        .map(|check| format!("{}: {}", check.name, check.remedy.as_deref().unwrap_or(&check.found)))
        .collect();
    if broken.is_empty() {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Outside, "the machine does not keep the contract")
        .because(broken.join("\n"))
        .hint("`docs/remote-machine.md` says what a machine must have; `automation machine check` shows every clause."))
}

/// Writes the reports, shows the verdict.
fn publish(session: &Session, args: &Args, results: &Results) -> Result<Ending, Fault> {
    let json = report::json::render(results)?;
    session.dir.write(RunFile::Results, json.as_bytes())?;
    let junit = report::junit::render("run-tests-linux", results)?;
    session.dir.write(RunFile::Junit, junit.as_bytes())?;
    let screen = &session.context.screen;
    if args.json {
        screen.data(&format!("{}\n", json.trim_end()));
    }
    session.say(report::terminal::summary(results).trim_end());
    screen.message(&format!("Results: {}", session.dir.file(RunFile::Results).display()));
    // Last: a file that cannot be written must not hide the verdict.
    if let Some(path) = &args.junit {
        std::fs::write(path, &junit)
            .map_err(|error| Fault::outside(format!("cannot write `{}`", path.display())).because(error))?;
    }
    let interrupted = session.stage.stop.is_cancelled();
    let code = if interrupted { error::exit::INTERRUPTED } else { results.verdict.exit_code() };
    let counts = results.counts;
    let summary = format!(
        "{} {}: {} passed, {} failed, {} skipped, {} lost",
        counts.total,
        if counts.total == 1 { "test" } else { "tests" },
        counts.passed,
        counts.failed,
        counts.skipped,
        counts.lost
    );
    Ok(Ending { code, summary })
}
